import { writeFile, rm } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { IpvsError } from '../../lib/model/errors.ts'
import { Ipvs } from '../../lib/ipvs.ts'
import type { Endpoint, RealServerKey, ServiceKey } from '../../lib/model/types.ts'
import { kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'
import { until } from '../helpers/until.ts'

const TCP: ServiceKey = { protocol: 'tcp', address: '10.0.0.1', port: 80 }
const OTHER: ServiceKey = { protocol: 'tcp', address: '10.0.0.99', port: 80 }
const SERVER: Endpoint = { address: '10.1.0.1', port: 80 }

/** What an error must say. */
interface Expected {
  readonly code: string
  readonly errno: number
  readonly command: string
  readonly service?: ServiceKey
  readonly realServer?: RealServerKey
  readonly syscall?: string
  /** What a person reads. */
  readonly message: RegExp
}

/** Waits for a call to fail, and checks every field of what it failed with. */
async function expectError(call: Promise<unknown>, expected: Expected): Promise<void> {
  const error: unknown = await call.then(
    () => {
      throw new Error(`${expected.command} succeeded instead of failing with ${expected.code}`)
    },
    (reason: unknown) => reason,
  )
  if (!(error instanceof IpvsError)) throw error
  const { message, ...fields } = expected
  expect(Object.fromEntries(Object.entries(error))).toEqual({ name: 'IpvsError', ...fields })
  expect(error.message).toMatch(message)
  expect(error.message.startsWith(`${expected.code}: ${expected.command}`)).toBe(true)
}

/** Runs without the privileges of root, in all threads. */
async function unprivileged<T>(body: () => Promise<T>): Promise<T> {
  process.seteuid?.(65534)
  try {
    return await body()
  } finally {
    process.seteuid?.(0)
  }
}

/** A namespace with the service TCP and its real server SERVER. */
function withRules(body: (netns: Netns, ipvs: Ipvs) => Promise<void>): Promise<void> {
  return withNamespace(async (netns) => {
    await netns.ipvs.addService({ ...TCP, scheduler: 'rr' })
    await netns.ipvs.addRealServer(TCP, SERVER)
    await body(netns, netns.ipvs)
  })
}

kernelTests('errors of the kernel', () => {
  test('ESRCH: there is no such service, whatever is asked of it', () =>
    withRules(async (_, ipvs) => {
      const expected = {
        code: 'ESRCH',
        errno: -3,
        service: OTHER,
        message: /tcp\/10\.0\.0\.99:80.*no such virtual service/,
      }
      const realServer = SERVER
      await expectError(ipvs.service(OTHER), { ...expected, command: 'service' })
      await expectError(ipvs.deleteService(OTHER), { ...expected, command: 'deleteService' })
      await expectError(ipvs.editService(OTHER, { scheduler: 'rr' }), { ...expected, command: 'editService' })
      await expectError(ipvs.zero(OTHER), { ...expected, command: 'zero' })
      await expectError(ipvs.realServers(OTHER), { ...expected, command: 'realServers' })
      const message = /tcp\/10\.0\.0\.99:80 -> 10\.1\.0\.1:80.*no such virtual service/
      await expectError(ipvs.addRealServer(OTHER, SERVER), {
        ...expected,
        realServer,
        message,
        command: 'addRealServer',
      })
      await expectError(ipvs.editRealServer(OTHER, SERVER, { weight: 1 }), {
        ...expected,
        realServer,
        message,
        command: 'editRealServer',
      })
      await expectError(ipvs.deleteRealServer(OTHER, SERVER), {
        ...expected,
        realServer,
        message,
        command: 'deleteRealServer',
      })
    }))

  test('ESRCH: the same address as another protocol, port or family of mark is another service', () =>
    withRules(async (_, ipvs) => {
      await ipvs.addService({ protocol: 'fwmark', fwmark: 7 })
      const expected = { code: 'ESRCH', errno: -3, command: 'service', message: /no such virtual service/ }
      for (const service of [
        { ...TCP, protocol: 'udp' as const },
        { ...TCP, port: 81 },
        { protocol: 'fwmark' as const, fwmark: 7, family: 'ipv6' as const },
      ]) {
        await expectError(ipvs.service(service), { ...expected, service })
      }
    }))

  test('ESRCH: no sync daemon in that role runs', () =>
    withNamespace(async ({ ipvs }) => {
      for (const state of ['master', 'backup'] as const) {
        await expectError(ipvs.stopSyncDaemon(state), {
          code: 'ESRCH',
          errno: -3,
          command: 'stopSyncDaemon',
          message: /no sync daemon in that role/,
        })
      }
    }))

  test('EEXIST: the service, the real server, the sync daemon is there already', () =>
    withRules(async (netns, ipvs) => {
      await expectError(ipvs.addService(TCP), {
        code: 'EEXIST',
        errno: -17,
        command: 'addService',
        service: TCP,
        message: /tcp\/10\.0\.0\.1:80.*already exists; change it with editService/,
      })
      await expectError(ipvs.addRealServer(TCP, SERVER), {
        code: 'EEXIST',
        errno: -17,
        command: 'addRealServer',
        service: TCP,
        realServer: SERVER,
        message: /10\.1\.0\.1:80.*already has this real server; change it with editRealServer/,
      })
      await netns.run([
        'sh',
        '-c',
        'ip link add d0 type dummy && ip link set d0 up && ip addr add 10.9.9.1/24 dev d0 && ip route add 224.0.0.0/4 dev d0',
      ])
      const daemon = { state: 'master', multicastInterface: 'd0' } as const
      await ipvs.startSyncDaemon(daemon)
      await expectError(ipvs.startSyncDaemon({ ...daemon, syncId: 9 }), {
        code: 'EEXIST',
        errno: -17,
        command: 'startSyncDaemon',
        message: /already running\. It cannot be edited: stop it first/,
      })
    }))

  test('ENOENT: no such real server', () =>
    withRules(async (_, ipvs) => {
      const realServer = { address: '10.1.0.1', port: 81 }
      const expected = {
        code: 'ENOENT',
        errno: -2,
        service: TCP,
        realServer,
        message: /10\.1\.0\.1:81.*no such real server|not found/,
      }
      await expectError(ipvs.editRealServer(TCP, realServer, { weight: 2 }), {
        ...expected,
        command: 'editRealServer',
      })
      await expectError(ipvs.deleteRealServer(TCP, realServer), { ...expected, command: 'deleteRealServer' })
      await expectError(ipvs.realServer(TCP, realServer), { ...expected, command: 'realServer' })
    }))

  test('ENOENT: no such scheduler, no such persistence engine', () =>
    withRules(async (_, ipvs) => {
      const expected = {
        code: 'ENOENT',
        errno: -2,
        message: /module ip_vs_(pe_)?nosuch\) not found/,
      }
      await expectError(ipvs.addService({ ...OTHER, scheduler: 'nosuch' }), {
        ...expected,
        command: 'addService',
        service: OTHER,
      })
      await expectError(ipvs.addService({ ...OTHER, persistenceEngine: 'nosuch' }), {
        ...expected,
        command: 'addService',
        service: OTHER,
      })
      const edit = { ...expected, command: 'editService', service: TCP }
      await expectError(ipvs.editService(TCP, { scheduler: 'nosuch' }), edit)
      await expectError(ipvs.editService(TCP, { persistenceEngine: 'nosuch' }), edit)
      // A failed edit changes nothing.
      expect((await ipvs.service(TCP)).toJSON()).toEqual({ ...TCP, scheduler: 'rr' })
    }))

  test('EINVAL: an address that is not unicast for the kernel', () =>
    withRules(async (_, ipvs) => {
      const ipv6Service: ServiceKey = { ...TCP, address: '2001:db8::1' }
      await ipvs.addService(ipv6Service)
      const refused: readonly (readonly [ServiceKey, string])[] = [
        ...['0.0.0.0', '255.255.255.255', '224.0.0.1', '127.255.255.255'].map(
          (address) => [TCP, address] as const,
        ),
        ...['::', 'ff02::1', 'fe80::1', '::ffff:10.1.0.1'].map((address) => [ipv6Service, address] as const),
      ]
      for (const [service, address] of refused) {
        await expectError(ipvs.addRealServer(service, { address }), {
          code: 'EINVAL',
          errno: -22,
          command: 'addRealServer',
          service,
          realServer: { address, port: 80 },
          message: /address must be unicast/,
        })
      }
      for (const address of ['127.0.0.1', '0.1.2.3', '240.0.0.1']) await ipvs.addRealServer(TCP, { address })
      await ipvs.addRealServer(ipv6Service, { address: '::1' })
    }))

  test('EINVAL: every address, in a namespace where no interface is up', () =>
    withNamespace(
      async ({ ipvs, name }) => {
        await ipvs.addService(TCP)
        await expectError(ipvs.addRealServer(TCP, SERVER), {
          code: 'EINVAL',
          errno: -22,
          command: 'addRealServer',
          service: TCP,
          realServer: SERVER,
          message: /ip link set lo up/,
        })
        expect(name).toBeTruthy()
      },
      { lo: false },
    ))

  test('EINVAL: a real server of another family while a sync daemon runs, and the other way round', () =>
    withRules(async (netns, ipvs) => {
      await netns.run(['ip', 'link', 'add', 'd0', 'type', 'dummy'])
      await netns.run([
        'sh',
        '-c',
        'ip link set d0 up && ip addr add 10.9.9.1/24 dev d0 && ip route add 224.0.0.0/4 dev d0',
      ])
      const daemon = { state: 'master', multicastInterface: 'd0' } as const
      const mixed = { address: '2001:db8::7', method: 'tunnel' } as const
      await ipvs.startSyncDaemon(daemon)
      await expectError(ipvs.addRealServer(TCP, mixed), {
        code: 'EINVAL',
        errno: -22,
        command: 'addRealServer',
        service: TCP,
        realServer: { address: '2001:db8::7', port: 80 },
        message: /While a sync daemon runs, a real server must have the address family/,
      })
      await ipvs.stopSyncDaemon('master')
      const server = await ipvs.addRealServer(TCP, mixed)
      await expectError(ipvs.startSyncDaemon(daemon), {
        code: 'EINVAL',
        errno: -22,
        command: 'startSyncDaemon',
        message: /must have the address family of its virtual service/,
      })
      await server.delete()
      await ipvs.startSyncDaemon(daemon)
    }))

  test('EINVAL: a timeout that the kernel cannot hold', () =>
    withNamespace(async (netns) => {
      const { ipvs } = netns
      await ipvs.addService({ protocol: 'fwmark', fwmark: 1, persistence: { timeoutSeconds: 1 } })
      // /proc/net/ip_vs has timeouts in jiffies, so this is HZ.
      const [, hz] = /persistent (\d+)/.exec(await netns.read('/proc/net/ip_vs')) ?? []
      const most = Math.floor(2147483647 / Number(hz))
      await ipvs.setTimeouts({ tcpSeconds: most, udpSeconds: most })
      const before = await ipvs.timeouts()
      expect(before).toEqual({ tcpSeconds: most, tcpFinSeconds: 120, udpSeconds: most })
      if (most < 21474836) {
        await expectError(ipvs.setTimeouts({ tcpFinSeconds: 30, udpSeconds: most + 1 }), {
          code: 'EINVAL',
          errno: -22,
          command: 'setTimeouts',
          message: /longer than the kernel can hold/,
        })
      } else {
        // At 100 Hz no number that the kernel refuses gets past the library.
        await expect(ipvs.setTimeouts({ udpSeconds: most + 1 })).rejects.toThrow(RangeError)
      }
      expect(await ipvs.timeouts()).toEqual(before)
    }))

  test('ENODEV: no such interface for a sync daemon', () =>
    withNamespace(async ({ ipvs }) => {
      for (const state of ['master', 'backup'] as const) {
        await expectError(ipvs.startSyncDaemon({ state, multicastInterface: 'nosuch0' }), {
          code: 'ENODEV',
          errno: -19,
          command: 'startSyncDaemon',
          message: /no interface 'nosuch0' in/,
        })
      }
    }))

  test('ENETUNREACH: no route to the group of a sync daemon', () =>
    withNamespace(async (netns) => {
      await netns.run(['ip', 'link', 'add', 'd0', 'type', 'dummy'])
      for (const multicastGroup of ['224.0.0.81', 'ff05::51']) {
        await expectError(
          netns.ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'd0', multicastGroup }),
          {
            code: 'ENETUNREACH',
            errno: -101,
            command: 'startSyncDaemon',
            message: /no route to the multicast group/,
          },
        )
      }
      expect(await netns.ipvs.syncDaemons()).toEqual([])
    }))

  test('EADDRINUSE: the port of a backup daemon is taken', () =>
    withNamespace(async (netns) => {
      await netns.run([
        'sh',
        '-c',
        'ip link add d0 type dummy && ip link set d0 up && ip addr add 10.9.9.1/24 dev d0',
      ])
      const taker = netns.start(['socat', 'UDP4-RECV:8848', 'STDOUT'])
      await until('the port is taken', async () => (await netns.read('/proc/net/udp')).includes(':2290 '))
      await expectError(netns.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'd0' }), {
        code: 'EADDRINUSE',
        errno: -98,
        command: 'startSyncDaemon',
        message: /UDP port of the sync daemon is in use/,
      })
      await netns.ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'd0', multicastPort: 8849 })
      expect(taker.exitCode).toBeNull()
    }))

  test('EPERM: without CAP_NET_ADMIN neither reading nor writing works', () =>
    withRules(async (_, ipvs) => {
      const message = /CAP_NET_ADMIN in the initial user namespace/
      const common = { code: 'EPERM', errno: -1, message }
      await unprivileged(async () => {
        // Opening asks for nothing but the family, which anyone may.
        const own = await Ipvs.open()
        await expectError(own.info(), { ...common, command: 'info' })
        await expectError(own.services(), { ...common, command: 'services' })
        await expectError(own.snapshot(), { ...common, command: 'snapshot' })
        await expectError(own.flush(), { ...common, command: 'flush' })
        await own.close()
        // A socket that root opened is of no use either.
        await expectError(ipvs.addService(OTHER), { ...common, command: 'addService', service: OTHER })
        await expectError(ipvs.realServers(TCP), { ...common, command: 'realServers', service: TCP })
        await expectError(ipvs.editRealServer(TCP, SERVER, { weight: 0 }), {
          ...common,
          command: 'editRealServer',
          service: TCP,
          realServer: SERVER,
        })
        await expectError(ipvs.stopSyncDaemon('master'), { ...common, command: 'stopSyncDaemon' })
      })
      // Privileged again, the same socket works again.
      expect((await ipvs.snapshot()).map(({ realServers }) => realServers.length)).toEqual([1])
    }))

  test('EPERM: without CAP_SYS_ADMIN another network namespace cannot be entered', () =>
    withNamespace(async ({ name }) => {
      await unprivileged(async () => {
        await expectError(Ipvs.open({ netns: name }), {
          code: 'EPERM',
          errno: -1,
          command: 'open',
          syscall: 'setns',
          message: /CAP_SYS_ADMIN/,
        })
        await expectError(Ipvs.probe(), {
          code: 'EPERM',
          errno: -1,
          command: 'probe',
          syscall: 'unshare',
          message: /CAP_SYS_ADMIN/,
        })
      })
    }))

  test('ENOENT: no network namespace of that name', async () => {
    for (const netns of ['nosuch', '/run/netns/nosuch', '/proc/1/ns/nosuch']) {
      await expectError(Ipvs.open({ netns }), {
        code: 'ENOENT',
        errno: -2,
        command: 'open',
        syscall: 'open',
        message: /no network namespace/,
      })
    }
  })

  test('EINVAL: a path that is no network namespace', async () => {
    const file = `/tmp/ipvs-test-${String(process.pid)}`
    await writeFile(file, 'no namespace')
    try {
      for (const netns of [file, '/proc/self/ns/mnt']) {
        await expectError(Ipvs.open({ netns }), {
          code: 'EINVAL',
          errno: -22,
          command: 'open',
          syscall: 'setns',
          message: /not a network namespace/,
        })
      }
    } finally {
      await rm(file)
    }
  })

  test('EBADF: a call on what was closed', () =>
    withNamespace(async (netns) => {
      const ipvs = await netns.open()
      await ipvs.close()
      await expectError(ipvs.services(), { code: 'EBADF', errno: -9, command: 'services', message: /closed/ })
    }))
})
