import { Ipvs } from '../../index.ts'

const VERSION = 'ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)'

/** Runs one of the programs. Gives the exit status. */
export async function runProgram(program: string, args: readonly string[]): Promise<number> {
  try {
    const ipvs = await Ipvs.open()
    await ipvs.info()
    await ipvs.close()
  } catch {
    process.stderr.write("Can't initialize ipvs: Protocol not available\n")
    return 2
  }
  if (args[0] === '-v') {
    process.stdout.write(`${VERSION}\n`)
    return 0
  }
  process.stderr.write(`${program}: this command is not finished yet\n`)
  return 2
}
