import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { diagnose } from '../../../lib/doctor/diagnose.ts'
import { IpvsError } from '../../../lib/model/errors.ts'
import { Ipvs } from '../../../lib/ipvs.ts'

/** A kernel without ip_vs: scripts/test.mjs boots one for these. */

test('open rejects with ENOENT, and says how to get the module', async () => {
  for (let round = 0; round < 2; round++) {
    const error: unknown = await Ipvs.open().catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(IpvsError)
    expect(error).toMatchObject({ code: 'ENOENT', errno: -2, command: 'open' })
    expect((error as IpvsError).message).toMatch(/no IPVS: load it with `modprobe ip_vs`/)
  }
})

test('open rejects alike inside a network namespace, and tells it from one that does not exist', async () => {
  execFileSync('ip', ['netns', 'add', 'absent'])
  await expect(Ipvs.open({ netns: 'absent' })).rejects.toThrow(/ENOENT: open: this kernel has no IPVS/)
  await expect(Ipvs.open({ netns: 'nosuch' })).rejects.toThrow(/ENOENT: open: there is no network namespace/)
  await expect(Ipvs.probe({ netns: 'nosuch' })).rejects.toThrow(
    /ENOENT: probe: there is no network namespace/,
  )
})

test('probe says that there is nothing', async () => {
  expect(await Ipvs.probe()).toEqual({
    available: false,
    ipv6: false,
    schedulers: [],
    persistenceEngines: [],
    counters64: false,
    tunnelTypes: [],
    mixedFamilies: false,
  })
})

test('the doctor finds that there is no module, and how to load it', async () => {
  const findings = await diagnose()
  expect(findings).toMatchObject([{ code: 'no-module', severity: 'error', commands: ['modprobe ip_vs'] }])
})

test('the tests of the real kernel say what is missing, and fail where it is required', () => {
  const run = (env: object): { status: number; text: string } => {
    const argv = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'vitest.kernel.config.ts', 'probe']
    try {
      const text = execFileSync(process.execPath, argv, {
        encoding: 'utf8',
        env: { ...process.env, IPVS_MODULE: 'present', CI: '', IPVS_REQUIRE: '', ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      return { status: 0, text }
    } catch (error) {
      const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string }
      return { status, text: stdout + stderr }
    }
  }
  const skipped = run({})
  expect(skipped.status).toBe(0)
  expect(skipped.text).toMatch(/3 skipped/)
  const required = run({ IPVS_REQUIRE: 'kernel' })
  expect(required.status).toBe(1)
  expect(required.text).toMatch(/need an IPVS that opens/)
})
