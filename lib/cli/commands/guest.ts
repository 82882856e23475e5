import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The guest lies in the package as it does in the repository: two folders above this file, and above what it is built to. */
const GUEST = fileURLToPath(new URL('../../guest/guest.mjs', import.meta.url))

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const

/** `ipvs guest`: runs a command on a kernel of its own. Gives the exit status. */
export function runGuest(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const guest = spawn(process.execPath, [GUEST, ...args], { stdio: 'inherit' })
    // It takes its machine down, and we end when it has. A terminal sends Ctrl-C to it as well; once more does no harm.
    for (const signal of SIGNALS) process.on(signal, () => guest.kill(signal))
    guest.on('error', reject)
    guest.on('close', (status) => {
      resolve(status ?? 125)
    })
  })
}
