import { describe, expect, test } from 'vitest'
import { type ApplyResult, formatPlan, Ipvs, type State } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'

/** apply() with `keepGoing`: what can be done is done, and each step that failed is told. */

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
const MAIL = { protocol: 'tcp', address: '192.0.2.10', port: 25 } as const

async function start(): Promise<{ readonly ipvs: Ipvs; readonly kernel: MemoryKernel }> {
  const kernel = createMemoryKernel()
  return { kernel, ipvs: await Ipvs.open({ transport: kernel }) }
}

/** The failed steps in short: 'add-server EINVAL'. */
function failures({ failed }: ApplyResult): string[] {
  return failed.map(({ step, error }) => {
    const { code } = error as { readonly code?: string }
    return `${step.kind} ${code ?? error?.message}`
  })
}

const servers = async (ipvs: Ipvs): Promise<string[]> =>
  (await ipvs.realServers(WEB)).map(({ address, weight }) => `${address} ${String(weight)}`)

const LEFT_OUT = 'skipped, because another step of this service failed'

describe('keepGoing', () => {
  test('at boot: one server that the kernel refuses does not mean an empty table', async () => {
    const state: State = {
      services: [
        { ...WEB, realServers: [{ address: '10.0.0.1' }, { address: '224.0.0.1' }, { address: '10.0.0.3' }] },
        { ...MAIL, scheduler: 'nosuch', realServers: [{ address: '10.0.0.4' }] },
      ],
      timeouts: { udpSeconds: 60 },
    }
    const { ipvs } = await start()
    await expect(ipvs.apply(state)).rejects.toMatchObject({ code: 'ERR_IPVS_APPLY' })
    expect(await ipvs.services()).toEqual([])

    const result = await ipvs.restore(state, { keepGoing: true })
    expect(result.applied).toBe(true)
    expect(failures(result).sort()).toEqual(['add-server EINVAL', 'add-server ESRCH', 'add-service ENOENT'])
    expect(await servers(ipvs)).toEqual(['10.0.0.1 1', '10.0.0.3 1'])
    expect(await ipvs.timeouts()).toMatchObject({ udpSeconds: 60 })
  })

  test('at boot: neither does a sysctl that only a newer kernel has', async () => {
    const state: State = {
      services: [{ ...WEB, realServers: [{ address: '10.0.0.1' }] }],
      sysctls: { conn_max: '1000', conntrack: '1', of_a_later_kernel: '1' },
    }
    const { ipvs } = await start()
    const plan = await ipvs.plan(state)
    expect(plan.absentSysctls).toEqual(['conn_max', 'of_a_later_kernel'])
    expect(await formatPlan(plan)).toContain('! sysctl net.ipv4.vs.conn_max  this kernel does not have it\n')
    for (const target of [state, plan]) {
      await expect(ipvs.apply(target)).rejects.toMatchObject({
        message: 'sysctls.conn_max: this kernel has no such sysctl; sysctls() lists those that a kernel has',
        path: 'sysctls.conn_max',
      })
      expect(await ipvs.services()).toEqual([])
      const planned = await ipvs.apply(target, { keepGoing: true, dryRun: true })
      expect([planned.absentSysctls, planned.failed]).toEqual([plan.absentSysctls, []])
      const result = await ipvs.apply(target, { keepGoing: true })
      expect(failures(result)).toEqual(['set-sysctl ENOENT', 'set-sysctl ENOENT'])
      expect(result.failed[0]?.step).toEqual({
        kind: 'set-sysctl',
        name: 'conn_max',
        before: '',
        after: '1000',
      })
      expect(await servers(ipvs)).toEqual(['10.0.0.1 1'])
      expect(await ipvs.sysctl('conntrack')).toBe('1')
      await ipvs.flush()
      await ipvs.setSysctl('conntrack', 0)
    }
    // Done as far as it can be, it stays so.
    await ipvs.apply(state, { keepGoing: true })
    const again = await ipvs.plan(state)
    expect(again.steps).toEqual([])
    expect(await formatPlan(again)).toMatch(/Nothing else to do\.\n$/)
    // A name that nobody has is a mistake in the state.
    await expect(ipvs.apply({ ...state, sysctls: { conntrac: '1' } }, { keepGoing: true })).rejects.toThrow(
      "sysctls.conntrac: there is no such sysctl; did you mean 'conntrack'?",
    )
  })

  test('takes nothing from a service of which a step failed, and all from the others', async () => {
    const { ipvs } = await start()
    await ipvs.apply({
      services: [
        { ...WEB, realServers: [{ address: '10.0.0.1' }, { address: '10.0.0.2', weight: 5 }] },
        { ...MAIL, realServers: [{ address: '10.0.0.4' }, { address: '10.0.0.5' }] },
      ],
    })
    const result = await ipvs.apply(
      {
        services: [
          { ...WEB, realServers: [{ address: '224.0.0.1' }, { address: '10.0.0.2', weight: 0 }] },
          { ...MAIL, realServers: [{ address: '10.0.0.4' }] },
        ],
      },
      { keepGoing: true, force: true },
    )
    expect(failures(result)).toEqual([
      'add-server EINVAL',
      `edit-server ${LEFT_OUT}`,
      `delete-server ${LEFT_OUT}`,
    ])
    expect(await servers(ipvs)).toEqual(['10.0.0.1 1', '10.0.0.2 5'])
    expect(await ipvs.realServers(MAIL)).toHaveLength(1)
  })

  test('keeps a service whose replacement the kernel refused', async () => {
    const { ipvs } = await start()
    await ipvs.apply({ services: [{ ...WEB, realServers: [{ address: '10.0.0.1' }] }] })
    const result = await ipvs.apply(
      { services: [{ ...WEB, port: 8080, scheduler: 'nosuch', realServers: [{ address: '10.0.0.1' }] }] },
      { keepGoing: true },
    )
    expect(failures(result)).toEqual(['add-service ENOENT', 'add-server ESRCH', `delete-service ${LEFT_OUT}`])
    expect(await servers(ipvs)).toEqual(['10.0.0.1 1'])
  })

  test('with a drain: what is left out is not drained either', async () => {
    const { ipvs } = await start()
    await ipvs.apply({
      services: [{ ...WEB, realServers: [{ address: '10.0.0.1' }, { address: '10.0.0.2' }] }],
    })
    const result = await ipvs.apply(
      { services: [{ ...WEB, realServers: [{ address: '10.0.0.2' }, { address: '224.0.0.1' }] }] },
      { keepGoing: true, drain: { intervalMs: 10 } },
    )
    expect(failures(result)).toEqual(['add-server EINVAL', `delete-server ${LEFT_OUT}`])
    expect(await servers(ipvs)).toEqual(['10.0.0.1 1', '10.0.0.2 1'])
  })

  test('rolls all back where it is aborted', async () => {
    const { ipvs } = await start()
    const abort = new AbortController()
    const reason = new Error('enough')
    const state: State = {
      services: [
        {
          ...WEB,
          realServers: Array.from({ length: 600 }, (_, at) => ({
            address: `10.0.${String(at >> 8)}.${String(at & 255)}`,
          })),
        },
      ],
    }
    const applied = ipvs.apply(state, {
      keepGoing: true,
      signal: abort.signal,
      onProgress: ({ phase }) => {
        if (phase === 'apply') abort.abort(reason)
      },
    })
    await expect(applied).rejects.toBe(reason)
    expect(await ipvs.services()).toEqual([])
  })

  test('guards refuse as always', async () => {
    const { ipvs } = await start()
    await ipvs.apply({ services: [{ ...WEB, realServers: [{ address: '10.0.0.1' }] }] })
    await expect(ipvs.apply({ services: [WEB] }, { keepGoing: true })).rejects.toMatchObject({
      code: 'ERR_IPVS_GUARD',
    })
    await expect(ipvs.apply({ services: [] }, { keepGoing: 1 as never })).rejects.toThrow(
      'keepGoing must be true or false, got 1',
    )
  })

  test('has no failed steps where nothing failed, and none without it', async () => {
    const { ipvs } = await start()
    expect((await ipvs.apply({ services: [WEB] }, { keepGoing: true })).failed).toEqual([])
    expect((await ipvs.apply({ services: [WEB] })).failed).toEqual([])
    expect((await ipvs.apply({ services: [] }, { dryRun: true, force: true })).failed).toEqual([])
  })
})
