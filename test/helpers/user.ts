import { execFileSync } from 'node:child_process'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'

/** A user who has the package and no compiler. */

/** Links programs into a folder, which then is a PATH without any other. */
export function linkPrograms(folder: string, programs: readonly string[]): void {
  for (const program of programs) {
    const found = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' })
    symlinkSync(found.trim(), join(folder, program))
  }
}

const OPEN_AND_PRINT = `
Ipvs.open().then(
  async (ipvs) => { await ipvs.close(); console.log('opened') },
  (error) => { console.log(error instanceof IpvsError ? 'IpvsError' : error.message) },
)
`
/** A program that opens the library and prints the result. It changes nothing, even on a kernel with IPVS. */
export const OPEN = `import { Ipvs, IpvsError } from 'ipvs'${OPEN_AND_PRINT}`
/** The same in CommonJS. */
export const OPEN_REQUIRED = `const { Ipvs, IpvsError } = require('ipvs')${OPEN_AND_PRINT}`
/** Its output if the addon loads: without IPVS, the error comes from the kernel. */
export const OPENED = /^(opened|IpvsError)\n?$/
