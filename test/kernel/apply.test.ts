import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ApplyError, type ApplyOptions, formatState, Ipvs, type State } from '../../lib/index.ts'
import { dependsOnOrder } from '../../lib/model/schedulers.ts'
import { openNative } from '../../lib/transport/native.ts'
import { FailingTransport } from '../helpers/failing-transport.ts'
import {
  canonicalRealServer,
  canonicalService,
  type CanonicalRules,
  type Rules,
  sorted,
  table,
} from '../helpers/kernel-arbitraries.ts'
import { checkProperty, command, kernelTests, withNamespace, withNamespaces } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'

/** Saving, restoring and applying states on the real kernel. */

const stateOf = (rules: readonly Rules[]): State => ({
  services: rules.map(({ service, realServers }) => ({ ...service, realServers })),
})

/** What the kernel must list for a state: worked out without the library. Servers are in the order of the state. */
const expected = (rules: readonly Rules[]): CanonicalRules[] =>
  sorted(
    rules.map(({ service, realServers }) => ({
      service: canonicalService(service),
      realServers: realServers.map((server) => canonicalRealServer(server, service)),
    })),
  )

async function listed(ipvs: Ipvs): Promise<CanonicalRules[]> {
  return sorted(JSON.parse(JSON.stringify(await ipvs.snapshot())) as CanonicalRules[])
}

/** A table in which the order of servers says nothing. */
const unordered = (rules: readonly CanonicalRules[]): unknown =>
  rules.map(({ service, realServers }) => ({
    service,
    realServers: [...realServers].map((server) => JSON.stringify(server)).sort(),
  }))

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ipvs-apply-'))
  try {
    await body(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

kernelTests('save and restore', () => {
  test('bring any table back, in the order of the state, by data and by every form of text', async () => {
    await checkProperty(
      'save, flush, restore',
      fc.asyncProperty(table({ ipvsadm: false }, 40), (rules) =>
        withNamespaces(4, async (...namespaces) => {
          const [first, ...others] = namespaces.map(({ ipvs }) => ipvs) as [Ipvs, ...Ipvs[]]
          const { steps } = await first.restore(stateOf(rules))
          expect(await listed(first)).toEqual(expected(rules))
          expect(steps).toHaveLength(rules.length + rules.flatMap(({ realServers }) => realServers).length)

          const saved = await first.save()
          const again = [
            saved,
            await formatState(saved),
            await formatState(saved, { format: 'yaml' }),
          ] as const
          for (const [index, ipvs] of others.entries()) {
            await ipvs.restore(again[index] ?? saved)
            expect(await listed(ipvs)).toEqual(expected(rules))
          }
          await first.flush()
          await first.restore(saved)
          // Another namespace hashes otherwise; in the same one the order of services comes back too.
          expect(await first.save()).toEqual(saved)
          expect((await first.restore(saved)).steps).toEqual([])
        }),
      ),
      4,
    )
  })

  test('lead from any table to any other, and rules outside of the scope stay', async () => {
    await checkProperty(
      'from one table to another',
      fc.asyncProperty(table({ ipvsadm: false }, 40), fc.infiniteStream(fc.nat(99)), (rules, chances) =>
        withNamespace(async ({ ipvs }) => {
          const chance = (percent: number): boolean => (chances.next().value as number) < percent
          // Two states that share services, some of which share servers.
          const part = (): Rules[] =>
            rules
              .filter(() => chance(60))
              .map(({ service, realServers }) => ({
                service: chance(50) ? service : { ...service, scheduler: 'rr', schedulerFlags: [] },
                realServers: realServers
                  .filter(() => chance(60))
                  .map((server) => (chance(50) ? server : { ...server, weight: 7 })),
              }))
          const [one, two] = [part(), part()]
          await ipvs.apply(stateOf(one))
          expect(await listed(ipvs)).toEqual(expected(one))
          const plan = await ipvs.plan(stateOf(two))
          await ipvs.apply(plan, { force: true })
          expect(unordered(await listed(ipvs))).toEqual(unordered(expected(two)))
          const after = await ipvs.plan(stateOf(two))
          expect(after.steps).toEqual([])
          // What the plan said of the order is so.
          const orders = new Set(after.reordered.map((key) => JSON.stringify(key)))
          for (const [index, entry] of (await listed(ipvs)).entries()) {
            const wanted = expected(two)[index]
            const { service } = entry
            const key =
              service.protocol === 'fwmark'
                ? { protocol: service.protocol, fwmark: service.fwmark, family: service.family }
                : { protocol: service.protocol, address: service.address, port: service.port }
            expect(orders.has(JSON.stringify(key))).toBe(
              dependsOnOrder(service.scheduler ?? 'wlc') &&
                JSON.stringify(entry.realServers) !== JSON.stringify(wanted?.realServers),
            )
          }

          // Another controller owns the services with an even port or mark.
          const owned = (key: { readonly port?: number; readonly fwmark?: number }): boolean =>
            (key.port ?? key.fwmark ?? 0) % 2 === 1
          const outside = (await listed(ipvs)).filter(({ service }) => !owned(service))
          await ipvs.apply(stateOf(one.filter(({ service }) => owned(service))), {
            scope: owned,
            force: true,
          })
          const now = await listed(ipvs)
          expect(now.filter(({ service }) => !owned(service))).toEqual(outside)
          expect(unordered(now.filter(({ service }) => owned(service)))).toEqual(
            unordered(expected(one).filter(({ service }) => owned(service))),
          )
        }),
      ),
      6,
    )
  })

  test('keep timeouts, sync daemons and sysctls', () =>
    withNamespaces(2, async ({ ipvs, name }, other) => {
      for (const netns of [name, other.name])
        await other.run(['ip', '-n', netns, 'link', 'add', 'd0', 'type', 'dummy'])
      for (const netns of [name, other.name]) await other.run(['ip', '-n', netns, 'link', 'set', 'd0', 'up'])
      const state: State = {
        version: 1,
        services: [],
        timeouts: { tcpSeconds: 1000, tcpFinSeconds: 100, udpSeconds: 200 },
        syncDaemons: [
          {
            state: 'backup',
            multicastInterface: 'd0',
            syncId: 7,
            maxLengthBytes: 1400,
            multicastGroup: '224.0.0.99',
            multicastPort: 9000,
            multicastTtl: 3,
          },
        ],
        sysctls: { conntrack: '1', drop_entry: '2', sync_threshold: '5 60', expire_nodest_conn: '1' },
      }
      await ipvs.restore(state)
      const options = { sysctls: ['conntrack', 'drop_entry', 'expire_nodest_conn', 'sync_threshold'] }
      const saved = await ipvs.save(options)
      // The kernel takes 2 for 1 while memory is plenty.
      expect(saved).toEqual({ ...state, sysctls: { ...state.sysctls, drop_entry: '1' } })
      for (const wanted of [state, saved]) expect((await ipvs.plan(wanted)).steps).toEqual([])
      await other.ipvs.restore(saved)
      expect(await other.ipvs.save(options)).toEqual(saved)

      // A daemon cannot be edited, and a sysctl that the kernel refuses takes all of it back.
      const next: State = {
        ...state,
        syncDaemons: [{ state: 'backup', multicastInterface: 'd0', syncId: 8 }],
        sysctls: { conntrack: '0', sync_version: '7' },
      }
      const error = await ipvs.apply(next).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(ApplyError)
      expect(error).toMatchObject({ failed: { error: { code: 'EINVAL' } }, notUndone: [] })
      expect(await ipvs.save(options)).toEqual(saved)
      await ipvs.apply({ ...next, sysctls: { conntrack: '0' } })
      expect(await ipvs.syncDaemons()).toMatchObject([
        { state: 'backup', syncId: 8, multicastGroup: '224.0.0.81' },
      ])
      await ipvs.apply({ services: [], syncDaemons: [] })
      expect(await ipvs.syncDaemons()).toEqual([])
    }))

  test('bring back the sysctl of a scheduler whose module is not loaded, as after a boot', () =>
    withNamespace(async ({ ipvs }) => {
      const key = { protocol: 'tcp', address: '10.0.0.2', port: 80 } as const
      await ipvs.addService({ ...key, scheduler: 'lblc' })
      for (const expiration of ['86400', '60']) {
        await ipvs.setSysctl('lblc_expiration', expiration)
        const saved = await ipvs.save({ sysctls: true })
        await ipvs.deleteService(key)
        await command(['rmmod', 'ip_vs_lblc'])
        expect(await ipvs.sysctl('lblc_expiration')).toBeUndefined()
        // Without the service only another value than that of the module is refused.
        const alone = { ...saved, services: [] }
        const { steps, absentSysctls } = await ipvs.plan(alone)
        expect([steps, absentSysctls]).toEqual([[], expiration === '60' ? ['lblc_expiration'] : []])
        if (expiration === '60') {
          await expect(ipvs.apply(alone)).rejects.toThrow('modprobe ip_vs_lblc')
          const { failed } = await ipvs.apply(alone, { keepGoing: true })
          expect(failed).toMatchObject([
            { step: { kind: 'set-sysctl', name: 'lblc_expiration' }, error: { code: 'ENOENT' } },
          ])
        }
        await ipvs.restore(saved)
        expect(await ipvs.save({ sysctls: true })).toEqual(saved)
        expect((await ipvs.plan(saved)).steps).toEqual([])
      }
    }))

  test('understand what ipvsadm saves, and ipvsadm what they save', async () => {
    await checkProperty(
      'files of ipvsadm',
      fc.asyncProperty(table({ ipvsadm: true }, 40), (rules) =>
        withNamespaces(3, (one, two, three) =>
          withFolder(async (folder) => {
            await one.ipvs.restore(stateOf(rules))
            // theirs -> ours; ipvsadm sorts real servers.
            const theirs = join(folder, 'theirs.rules')
            await writeFile(theirs, await one.run(['ipvsadm', '-Sn']))
            await two.ipvs.restoreFromFile(theirs)
            expect(unordered(await listed(two.ipvs))).toEqual(unordered(expected(rules)))
            expect((await one.ipvs.plan({ services: (await two.ipvs.save()).services })).steps).toEqual([])
            // ours -> theirs
            const ours = join(folder, 'ours.rules')
            await one.ipvs.saveToFile(ours, { timeouts: false })
            await three.run(['ipvsadm', '-R'], await readFile(ours, 'utf8'))
            expect(unordered(await listed(three.ipvs))).toEqual(unordered(expected(rules)))
          }),
        ),
      ),
      4,
    )
  })
})

kernelTests('an apply that fails', () => {
  const web = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
  const dns = { protocol: 'udp', address: '10.0.0.1', port: 53 } as const
  const server = (last: number, more: object = {}) => ({ address: `10.1.0.${String(last)}`, ...more })
  const daemon = (state: 'master' | 'backup', syncId: number) => ({ state, multicastInterface: 'd0', syncId })
  const OLD: State = {
    services: [
      { ...web, scheduler: 'wlc', realServers: [server(1), server(2, { weight: 5 }), server(3), server(4)] },
      { ...dns, scheduler: 'rr', realServers: [server(1), server(2)] },
    ],
    timeouts: { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 },
    syncDaemons: [daemon('master', 1)],
    sysctls: { conntrack: '0' },
  }
  /** Every kind of step leads here. */
  const NEW: State = {
    services: [
      {
        ...web,
        scheduler: 'wlc',
        persistence: { timeoutSeconds: 60 },
        realServers: [server(5, { weight: 9 }), server(2, { weight: 0 }), server(3, { upperThreshold: 10 })],
      },
      { protocol: 'fwmark', fwmark: 7, realServers: [server(6)] },
    ],
    timeouts: { tcpSeconds: 1000 },
    syncDaemons: [daemon('master', 2), daemon('backup', 2)],
    sysctls: { conntrack: '1' },
  }
  // Nobody knows of a lost answer whether it was for something that was done.
  const LOST = { errno: 110, syscall: 'recvmsg' }

  test.each<[string, boolean, ApplyOptions]>([
    ['is not sent', false, {}],
    ['is done and its answer lost', true, {}],
    ['is done and its answer lost, with a drain', true, { drain: { timeoutMs: 0 } }],
  ])('where any one request %s leaves the table as it was', (_, executed, options) =>
    withNamespace(async (netns) => {
      const { ipvs, name, path } = netns
      for (const verb of ['add d0 type dummy', 'set d0 up'])
        await netns.run(['ip', '-n', name, 'link', ...verb.split(' ')])
      const native = await openNative({ netns: path, timeoutMs: patient(5000) })
      if ('errno' in native) throw new Error(`errno ${String(native.errno)}`)
      const transport = new FailingTransport(native)
      await using failing = await Ipvs.open({ transport })
      const now = async (): Promise<unknown> => {
        const { services, ...rest } = await ipvs.save({ sysctls: ['conntrack'] })
        return { ...rest, rules: unordered(await listed(ipvs)), services: services.length }
      }
      await ipvs.restore(OLD)
      const old = await now()
      const { steps } = await failing.plan(NEW)
      expect(new Set(steps.map(({ kind }) => kind)).size).toBe(10)
      const most = steps.length + (options.drain === undefined ? 0 : 4)
      for (let at = 0; at < most; at++) {
        transport.writes = 0
        transport.fault = { at, failure: LOST, executed }
        const error = await failing.apply(NEW, options).catch((reason: unknown) => reason)
        expect(error, `request ${String(at)}`).toMatchObject({ code: 'ERR_IPVS_APPLY', notUndone: [] })
        expect(await now(), `request ${String(at)}`).toEqual(old)
      }
      // There was no other request, and without a fault the table is the new one.
      transport.writes = 0
      transport.fault = undefined
      await failing.apply(NEW, options)
      expect(transport.writes).toBe(most)
      expect((await ipvs.plan(NEW)).steps).toEqual([])
    }),
  )

  test('at the last of many steps leaves the table as it was', () =>
    withNamespace(async ({ ipvs }) => {
      const web = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
      await ipvs.restore({
        services: [{ ...web, realServers: [1, 2, 3].map((last) => ({ address: `10.1.0.${String(last)}` })) }],
      })
      const before = await listed(ipvs)
      const error = await ipvs
        .apply({
          services: [
            {
              ...web,
              scheduler: 'sh',
              // Broadcast: the kernel takes no such real server.
              realServers: [
                { address: '255.255.255.255' },
                { address: '10.1.0.2', weight: 9 },
                { address: '10.1.0.9' },
              ],
            },
          ],
        })
        .catch((reason: unknown) => reason)
      expect(error).toMatchObject({
        code: 'ERR_IPVS_APPLY',
        failed: { step: { kind: 'add-server' }, error: { code: 'EINVAL' } },
        notUndone: [],
      })
      expect(await listed(ipvs)).toEqual(before)
    }))
})

kernelTests('a hundred and ten thousand rules', () => {
  // The guest of 6.12 is slow: a fifth.
  const SERVICES = process.env.IPVS_GUEST === '6.12' ? 200 : 1000
  const SERVERS = 109
  const DIFFERENCES = 100

  test('are restored, saved, compared, and changed where they differ', () =>
    withNamespace(async ({ ipvs }) => {
      const wanted = (weight: number): State => ({
        services: Array.from({ length: SERVICES }, (_, index) => ({
          protocol: 'tcp',
          address: `10.${String(index >> 8)}.0.${String(index & 255)}`,
          port: 1000 + (index >> 8),
          realServers: Array.from({ length: SERVERS }, (__, at) => ({
            address: `172.16.0.${String(at + 1)}`,
            port: 8080,
            method: 'masquerade',
            weight: at === 7 && index % (SERVICES / DIFFERENCES) === 0 ? weight : at,
          })),
        })),
      })
      expect((await ipvs.restore(wanted(1))).steps).toHaveLength(SERVICES * (1 + SERVERS))
      const saved = await ipvs.save()
      expect(saved.services.flatMap(({ realServers = [] }) => realServers)).toHaveLength(SERVICES * SERVERS)
      const plan = await ipvs.plan(wanted(5))
      expect([plan.steps.length, plan.deletions]).toEqual([DIFFERENCES, 0])
      await ipvs.apply(plan)
      expect((await ipvs.plan(wanted(5))).steps).toEqual([])
      expect((await ipvs.plan(saved)).steps).toHaveLength(DIFFERENCES)
    }))
})
