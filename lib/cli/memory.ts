import { readFile } from 'node:fs/promises'
import { formatState, Ipvs, type State, type StateFormat } from '../index.ts'
import { createMemoryKernel, type MemoryInterface } from '../testing.ts'
import { FileError } from './errors.ts'
import { formatOfName, parseText, writeText } from './files.ts'

/** The in-memory kernel with the table of a file. */
export interface MemoryTable {
  readonly ipvs: Ipvs
  /** Writes the table to the file, whole or not at all, if it is no longer what the file says. */
  writeBack(): Promise<void>
}

/** Opens it. A file that is empty, or not there, is an empty table, and written when that changes. */
export async function openMemory(file: string): Promise<MemoryTable> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new FileError(`cannot read ${file}: ${message}`)
  })
  const state = isBlank(text) ? { services: [] } : await parseText(text, file)
  const ipvs = await Ipvs.open({ transport: createMemoryKernel({ interfaces: interfacesFor(state) }) })
  const fresh = await ipvs.save({ sysctls: true })
  try {
    await ipvs.restore(state)
  } catch (error) {
    throw new FileError(`${file} does not go into the in-memory kernel: ${(error as Error).message}`)
  }
  const format = formatOf(file, text)
  const now = async (): Promise<string> => {
    try {
      return await formatState(without(await ipvs.save({ sysctls: true }), fresh, state), { format })
    } catch (error) {
      if (!(error instanceof TypeError)) throw error
      throw new FileError(`${file} cannot be written as it was: ${error.message}`)
    }
  }
  const before = await now()
  return {
    ipvs,
    async writeBack() {
      const after = await now()
      if (after === before) return
      const there = await readFile(file, 'utf8').catch(() => undefined)
      if (there !== text) {
        throw new FileError(`${file} was changed by someone else meanwhile, so it was left as it is`)
      }
      await writeText(file, after)
    },
  }
}

/** Leaves out what nobody has set: what is as in a kernel that has just started, and not named by the file. */
function without({ services, timeouts, syncDaemons, sysctls }: State, fresh: State, named: State): State {
  const set = Object.entries(sysctls ?? {}).filter(
    ([name, value]) => value !== fresh.sysctls?.[name] || named.sysctls?.[name] !== undefined,
  )
  const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)
  return {
    services,
    ...(timeouts !== undefined &&
      (named.timeouts !== undefined || !same(timeouts, fresh.timeouts)) && { timeouts }),
    ...(syncDaemons !== undefined &&
      (named.syncDaemons !== undefined || syncDaemons.length > 0) && { syncDaemons }),
    ...(set.length > 0 && { sysctls: Object.fromEntries(set) }),
  }
}

/** A file keeps the form it has. */
function formatOf(file: string, text: string | undefined): StateFormat {
  if (isBlank(text)) return formatOfName(file) ?? 'json'
  const line = /^(?:\s|#.*\n)*(.*)/.exec(text)?.[1] ?? ''
  if (line.startsWith('{')) return 'json'
  return /^--?[a-z]|^(\S*\/)?ipvsadm\s/i.test(line) ? 'ipvsadm' : 'yaml'
}

function isBlank(text: string | undefined): text is undefined | '' {
  return text === undefined || text.trim() === ''
}

/** As many interfaces as the table needs; each sync daemon has its own. */
function interfacesFor({ syncDaemons = [] }: State): MemoryInterface[] {
  const names = new Set(['eth0', ...syncDaemons.map(({ multicastInterface }) => multicastInterface)])
  names.delete('lo')
  return [
    { name: 'lo', mtuBytes: 65536, addresses: ['127.0.0.1/8', '::1/128'] },
    ...[...names].map((name, index) => ({
      name,
      addresses: [`192.168.${String(index)}.2/24`, `fd00:0:0:${String(index)}::2/64`],
    })),
  ]
}
