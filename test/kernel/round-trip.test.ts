import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Ipvs } from '../../lib/ipvs.ts'
import type { RealServerSpec } from '../../lib/model/types.ts'
import {
  canonicalRealServer,
  canonicalService,
  canonicalTable,
  sorted,
  table,
  type CanonicalRules,
  type Rules,
} from '../helpers/kernel-arbitraries.ts'
import { checkProperty, kernelTests, withNamespaces } from '../helpers/kernel.ts'

/** Adds a table, all in one tick, and checks what adding gave back. */
async function add(ipvs: Ipvs, rules: readonly Rules[]): Promise<void> {
  await Promise.all(
    rules.flatMap(({ service, realServers }) => [
      ipvs.addService(service).then((added) => {
        expect(plain(added)).toEqual(canonicalService(service))
      }),
      ...realServers.map(async (server) => {
        const added = await ipvs.addRealServer(service, server)
        expect(plain(added)).toEqual(canonicalRealServer(server, service))
      }),
    ]),
  )
}

/** The table as plain data. */
async function read(ipvs: Ipvs): Promise<CanonicalRules[]> {
  return sorted(plain(await ipvs.snapshot()) as CanonicalRules[])
}

function byAddress(rules: readonly CanonicalRules[]): CanonicalRules[] {
  const text = ({ address, port }: RealServerSpec): string => `${address} ${String(port)}`
  return rules.map(({ service, realServers }) => ({
    service,
    realServers: [...realServers].sort((a, b) => (text(a) < text(b) ? -1 : 1)),
  }))
}

/** What JSON makes of something, as any type that it then has. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

kernelTests('round trip', () => {
  test('reads every service and real server back as it was written, by every way of reading', async () => {
    await checkProperty(
      'round trip of everything',
      fc.asyncProperty(table({ ipvsadm: false }, 50), (rules) =>
        withNamespaces(2, async (one, two) => {
          const { ipvs } = one
          const expected = canonicalTable(rules)
          await add(ipvs, rules)

          expect(await read(ipvs)).toEqual(expected)
          expect(
            sorted(
              (await ipvs.services()).map((service) => ({ service: service.toJSON(), realServers: [] })),
            ),
          ).toEqual(expected.map(({ service }) => ({ service, realServers: [] })))
          await Promise.all(
            rules.map(async ({ service, realServers }) => {
              expect(plain(await ipvs.service(service))).toEqual(canonicalService(service))
              const canonical = realServers.map((server) => canonicalRealServer(server, service))
              expect(plain(await ipvs.realServers(service))).toEqual(canonical.reverse())
              const [first] = realServers
              if (first === undefined) return
              expect(plain(await ipvs.realServer(service, first))).toEqual(
                canonicalRealServer(first, service),
              )
            }),
          )

          // What was read goes back in as it came out; the oldest server first, for the kernel puts the newest in front.
          const again = plain(await ipvs.snapshot()) as Rules[]
          await add(
            two.ipvs,
            again.map(({ service, realServers }) => ({ service, realServers: [...realServers].reverse() })),
          )
          expect(await read(two.ipvs)).toEqual(expected)
        }),
      ),
      6,
    )
  })

  test('saves by ipvsadm, restores by ipvsadm, and reads the same', async () => {
    await checkProperty(
      'round trip by ipvsadm',
      fc.asyncProperty(table({ ipvsadm: true }, 50), (rules) =>
        withNamespaces(2, async (one, two) => {
          await add(one.ipvs, rules)
          const text = await one.run(['ipvsadm', '-Sn'])
          await two.run(['ipvsadm', '-R'], text)
          // ipvsadm saves real servers by address, so that the kernel's order is lost.
          expect(byAddress(await read(two.ipvs))).toEqual(byAddress(canonicalTable(rules)))
        }),
      ),
      6,
    )
  })
})
