import { readdir, readFile, readlink } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { Ipvs } from '../../lib/ipvs.ts'
import type { SyncDaemonSpec } from '../../lib/model/types.ts'
import { kernelTests, type Netns, withNamespace, withNamespaces } from '../helpers/kernel.ts'

const TCP = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const

/** An interface with routes to multicast groups of both families. */
async function addInterface(netns: Netns): Promise<void> {
  const script = `
    ip link add d0 type dummy
    ip link set d0 up
    ip addr add 10.9.9.1/24 dev d0
    ip addr add fd00::1/64 dev d0 nodad
    ip route add 224.0.0.0/4 dev d0
    ip -6 route replace ff00::/8 dev d0`
  await netns.run(['sh', '-ec', script])
}

kernelTests('info', () => {
  test('says what the header of /proc/net/ip_vs says', () =>
    withNamespace(async (netns) => {
      await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 1 })
      const [, version, size] = /version (\S+) \(size=(\d+)\)/.exec(await netns.read('/proc/net/ip_vs')) ?? []
      expect(await netns.ipvs.info()).toEqual({ version, connectionTableSize: Number(size) })
    }))
})

kernelTests('flush', () => {
  test('empties one namespace and leaves the others, timeouts and sync daemons alone', () =>
    withNamespaces(2, async (one, two) => {
      await addInterface(one)
      for (const { ipvs } of [one, two]) {
        await Promise.all(
          Array.from({ length: 200 }, (_, index) =>
            ipvs.addService({ protocol: 'fwmark', fwmark: index + 1 }),
          ),
        )
        await ipvs.setTimeouts({ udpSeconds: 33 })
      }
      await one.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'd0' })
      await one.ipvs.flush()
      expect(await one.ipvs.snapshot()).toEqual([])
      expect(await one.ipvs.services()).toEqual([])
      expect((await one.ipvs.timeouts()).udpSeconds).toBe(33)
      expect(await one.ipvs.syncDaemons()).toHaveLength(1)
      expect(await two.ipvs.services()).toHaveLength(200)
      await one.ipvs.flush()
    }))
})

kernelTests('timeouts', () => {
  test('are the defaults in a new namespace, and each is set alone', () =>
    withNamespaces(2, async ({ ipvs }, other) => {
      const defaults = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 }
      expect(await ipvs.timeouts()).toEqual(defaults)
      await ipvs.setTimeouts({})
      expect(await ipvs.timeouts()).toEqual(defaults)
      await ipvs.setTimeouts({ tcpSeconds: 1 })
      expect(await ipvs.timeouts()).toEqual({ ...defaults, tcpSeconds: 1 })
      await ipvs.setTimeouts({ tcpFinSeconds: 2 })
      await ipvs.setTimeouts({ udpSeconds: 3 })
      expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 1, tcpFinSeconds: 2, udpSeconds: 3 })
      await ipvs.setTimeouts({ tcpSeconds: 2147483, udpSeconds: 7 })
      expect(await ipvs.timeouts()).toEqual({ tcpSeconds: 2147483, tcpFinSeconds: 2, udpSeconds: 7 })
      await ipvs.setTimeouts(await other.ipvs.timeouts())
      expect(await ipvs.timeouts()).toEqual(defaults)
    }))
})

kernelTests('sync daemons', () => {
  const CASES: Readonly<Record<string, readonly [SyncDaemonSpec, object]>> = {
    'a master with nothing named': [
      { state: 'master', multicastInterface: 'd0' },
      { syncId: 0, maxLengthBytes: 1472, multicastGroup: '224.0.0.81', multicastPort: 8848, multicastTtl: 1 },
    ],
    'a backup with nothing named': [
      { state: 'backup', multicastInterface: 'd0' },
      { syncId: 0, maxLengthBytes: 1472, multicastGroup: '224.0.0.81', multicastPort: 8848, multicastTtl: 1 },
    ],
    'a master with everything': [
      {
        state: 'master',
        multicastInterface: 'd0',
        syncId: 255,
        maxLengthBytes: 1,
        multicastGroup: '239.1.2.3',
        multicastPort: 65535,
        multicastTtl: 255,
      },
      {},
    ],
    'a backup with everything': [
      {
        state: 'backup',
        multicastInterface: 'd0',
        syncId: 1,
        maxLengthBytes: 65507,
        multicastGroup: '224.1.2.3',
        multicastPort: 1,
        multicastTtl: 2,
      },
      {},
    ],
    'a backup whose payload the kernel raises': [
      { state: 'backup', multicastInterface: 'd0', maxLengthBytes: 100 },
      { syncId: 0, maxLengthBytes: 1024, multicastGroup: '224.0.0.81', multicastPort: 8848, multicastTtl: 1 },
    ],
    'a master of an IPv6 group': [
      { state: 'master', multicastInterface: 'd0', multicastGroup: 'FF05:0::51', multicastPort: 9000 },
      { syncId: 0, maxLengthBytes: 1452, multicastGroup: 'ff05::51', multicastPort: 9000, multicastTtl: 1 },
    ],
    'a backup of an IPv6 group': [
      {
        state: 'backup',
        multicastInterface: 'd0',
        multicastGroup: 'ff02::81',
        syncId: 3,
        maxLengthBytes: 2000,
      },
      { syncId: 3, maxLengthBytes: 2000, multicastGroup: 'ff02::81', multicastPort: 8848, multicastTtl: 1 },
    ],
  }

  test("read back as they were started, with every option and with the kernel's defaults", () =>
    withNamespace(async (netns) => {
      await addInterface(netns)
      for (const [name, [spec, difference]] of Object.entries(CASES)) {
        await netns.ipvs.startSyncDaemon(spec)
        expect(await netns.ipvs.syncDaemons(), name).toEqual([{ ...spec, ...difference }])
        await netns.ipvs.stopSyncDaemon(spec.state)
        expect(await netns.ipvs.syncDaemons(), name).toEqual([])
      }
    }))

  test('run one of each state, the master first, and end one by one', () =>
    withNamespace(async (netns) => {
      await addInterface(netns)
      const { ipvs } = netns
      await ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'd0', syncId: 2 })
      await ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'd0', syncId: 1 })
      const list = async (): Promise<unknown> =>
        (await ipvs.syncDaemons()).map(({ state, syncId }) => [state, syncId])
      expect(await list()).toEqual([
        ['master', 1],
        ['backup', 2],
      ])
      for (const state of ['master', 'backup'] as const) {
        await expect(ipvs.startSyncDaemon({ state, multicastInterface: 'd0' })).rejects.toMatchObject({
          code: 'EEXIST',
        })
      }
      await ipvs.stopSyncDaemon('backup')
      await expect(ipvs.stopSyncDaemon('backup')).rejects.toMatchObject({ code: 'ESRCH' })
      expect(await list()).toEqual([['master', 1]])
      await ipvs.stopSyncDaemon('master')
      await expect(ipvs.stopSyncDaemon('master')).rejects.toMatchObject({ code: 'ESRCH' })
    }))

  // The kernel stops a daemon whose thread has not run yet, and sends no reply to that (kthread_stop() gives EINTR, and netlink_rcv_skb() does not
  // acknowledge what ends so). With one
  // processor it is certain that the thread has not run in between.
  test('stop in the very tick in which they start', () =>
    withNamespace(async (netns) => {
      await addInterface(netns)
      const ipvs = await netns.open({ timeoutMs: 500 })
      await Promise.all([
        ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'd0' }),
        ipvs.stopSyncDaemon('backup'),
      ])
      expect(await ipvs.syncDaemons()).toEqual([])
    }))

  test('read what ipvsadm started', () =>
    withNamespace(async (netns) => {
      await addInterface(netns)
      await netns.ipvsadm([
        '--start-daemon master --mcast-interface d0 --syncid 7 --sync-maxlen 1400 --mcast-group 239.1.2.3 --mcast-port 9000 --mcast-ttl 5',
      ])
      expect(await netns.ipvs.syncDaemons()).toEqual([
        {
          state: 'master',
          multicastInterface: 'd0',
          syncId: 7,
          maxLengthBytes: 1400,
          multicastGroup: '239.1.2.3',
          multicastPort: 9000,
          multicastTtl: 5,
        },
      ])
    }))
})

kernelTests('silent cases', () => {
  test('tell an empty service from one that does not exist', () =>
    withNamespace(async ({ ipvs }) => {
      await ipvs.addService(TCP)
      expect(await ipvs.realServers(TCP)).toEqual([])
      expect(await ipvs.realServers(TCP, { bigint: true })).toEqual([])
      await expect(ipvs.realServers({ ...TCP, port: 81 })).rejects.toMatchObject({ code: 'ESRCH' })
      await ipvs.deleteService(TCP)
      await expect(ipvs.realServers(TCP)).rejects.toMatchObject({ code: 'ESRCH' })
    }))

  test('have an empty table as an empty list', () =>
    withNamespace(async ({ ipvs }) => {
      expect(await ipvs.services()).toEqual([])
      expect(await ipvs.snapshot()).toEqual([])
      expect(await ipvs.snapshot({ stable: true })).toEqual([])
      expect(await ipvs.syncDaemons()).toEqual([])
    }))

  test('have services without servers in a snapshot', () =>
    withNamespace(async ({ ipvs }) => {
      const marks = Array.from({ length: 300 }, (_, index) => index + 1)
      await Promise.all(
        marks.map(async (fwmark) => {
          const service = await ipvs.addService({ protocol: 'fwmark', fwmark })
          if (fwmark % 3 === 0) await service.addRealServer({ address: '10.1.0.1' })
        }),
      )
      const table = await ipvs.snapshot()
      expect(table).toHaveLength(300)
      for (const { service, realServers } of table) {
        expect(realServers.length).toBe((service.fwmark ?? 0) % 3 === 0 ? 1 : 0)
      }
    }))
})

kernelTests('network namespaces', () => {
  test('are entered by name and by path, and two are worked on at once', () =>
    withNamespaces(2, async (one, two) => {
      const byPath = await one.open()
      await Promise.all([
        one.ipvs.addService({ ...TCP, scheduler: 'rr' }),
        two.ipvs.addService({ ...TCP, scheduler: 'sh' }),
        two.ipvs.addService({ ...TCP, port: 81 }),
      ])
      const path = await Ipvs.open({ netns: two.path })
      try {
        expect((await byPath.services()).map(({ scheduler }) => scheduler)).toEqual(['rr'])
        expect((await path.service(TCP)).scheduler).toBe('sh')
        expect(await path.services()).toHaveLength(2)
        await Promise.all(
          Array.from({ length: 50 }, (_, index) => [
            byPath.addService({ protocol: 'fwmark', fwmark: index + 1, scheduler: 'rr' }),
            path.addService({ protocol: 'fwmark', fwmark: index + 1, scheduler: 'wrr' }),
          ]).flat(),
        )
        expect(new Set((await one.ipvs.services()).map(({ scheduler }) => scheduler))).toEqual(
          new Set(['rr']),
        )
        expect(await one.ipvs.services()).toHaveLength(51)
        expect(await two.ipvs.services()).toHaveLength(52)
      } finally {
        await path.close()
      }
    }))

  test('stay what they are for every thread of the process, after many were entered', () =>
    withNamespace(async (netns) => {
      const namespaces = async (): Promise<Set<string>> => {
        const all = new Set<string>()
        for (const thread of await readdir('/proc/self/task')) {
          // A thread that has ended meanwhile is in no namespace.
          const link = await readlink(`/proc/self/task/${thread}/ns/net`).catch(() => undefined)
          if (link !== undefined) all.add(link)
        }
        return all
      }
      const own = await readlink('/proc/self/ns/net')
      await netns.ipvs.addService({ protocol: 'fwmark', fwmark: 4242 })
      for (let round = 0; round < 8; round++) {
        const ipvs = await netns.open()
        await Promise.all([ipvs.info(), ipvs.sysctl('expire_quiescent_template'), ipvs.snapshot()])
        await ipvs.close()
      }
      expect(await namespaces()).toEqual(new Set([own]))
      // Reading files, as the pool's threads do, is not done in there.
      const tables = await Promise.all(
        Array.from({ length: 16 }, () => readFile('/proc/thread-self/net/ip_vs', 'utf8')),
      )
      for (const table of tables) expect(table).not.toContain('00001092')
      expect(await netns.read('/proc/net/ip_vs')).toContain('00001092')
    }))

  test('keep a socket alive that was opened in one that has no name any more', async () => {
    const survivor = await withNamespace(async (netns) => {
      const ipvs = await Ipvs.open({ netns: netns.name })
      await ipvs.addService(TCP)
      return ipvs
    })
    expect(await survivor.services()).toHaveLength(1)
    await survivor.close()
  })

  test('have sysctls of their own', () =>
    withNamespaces(2, async (one, two) => {
      await one.run(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/vs/expire_quiescent_template'])
      expect(await one.ipvs.sysctl('expire_quiescent_template')).toBe('1')
      expect(await two.ipvs.sysctl('expire_quiescent_template')).toBe('0')
      expect(await two.ipvs.sysctl('no_such_sysctl')).toBeUndefined()
    }))
})
