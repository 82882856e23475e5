import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The guest's command, which tests run by itself. */
export const GUEST: string = fileURLToPath(new URL('../../guest/guest.mjs', import.meta.url))

/** Whether a test without a guest fails rather than being skipped. */
export const guestRequired: boolean =
  Boolean(process.env.CI) || (process.env.IPVS_REQUIRE ?? '').split(',').includes('guest')

export const inGuest = Boolean(process.env.IPVS_GUEST)

/** Why there can be no guest here, or undefined. Fetches what it is made of. */
export function whyNoGuest(kernel: string): string | undefined {
  if (inGuest) return 'this is a guest already'
  const { status, stderr } = spawnSync(process.execPath, [GUEST, '--kernel', kernel, 'true'])
  return status === 0 ? undefined : stderr.toString()
}
