import { readFile } from 'node:fs/promises'
import { test } from 'vitest'
import { command, THROWAWAY, tryCommand } from './kernel.ts'
import { until } from './until.ts'

/** Modules are those of the whole machine: for files that run alone. */

/** A test that unloads ip_vs, which ends the work of whoever else is on a machine. */
export const inGuest = THROWAWAY ? test : test.skip
if (!THROWAWAY)
  console.warn(
    'SKIPPED: reloading ip_vs: only in the guest, for it ends what runs on a machine. guest/guest.mjs boots one.',
  )

/** Unloads ip_vs with all that builds on it, which works once nobody has a service any more. */
export async function unload(): Promise<void> {
  await until('ip_vs is unloaded', async () => {
    // Its name, size, uses, and who uses it: 'ip_vs 180224 3 ip_vs_rr,xt_ipvs, Live 0x0'; nobody is '-'.
    const [, users] = /^ip_vs \d+ \d+ (\S+)/m.exec(await readFile('/proc/modules', 'utf8')) ?? []
    if (users === undefined) return true
    for (const name of users.split(',').filter((user) => !['', '-'].includes(user)))
      await tryCommand(['rmmod', name])
    // Namespaces of other tests end in the background.
    await tryCommand(['rmmod', 'ip_vs'])
    return false
  })
}

/** Meanwhile modules come only if someone loads them. */
export async function withoutLoading(body: () => Promise<unknown>): Promise<void> {
  const before = (await command(['sysctl', '-n', 'kernel.modprobe'])).trim()
  await command(['sysctl', '-qw', 'kernel.modprobe=/bin/false'])
  try {
    await body()
  } finally {
    await command(['sysctl', '-qw', `kernel.modprobe=${before}`])
  }
}
