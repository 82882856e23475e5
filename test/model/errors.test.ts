import { constants } from 'node:os'
import { describe, expect, test } from 'vitest'
import { IpvsError } from '../../lib/model/errors.ts'
import { addonLoadError, platformError } from '../../lib/transport/load-addon.ts'
import { errnoName } from '../../lib/model/errno.ts'
import { endpointName, serviceName } from '../../lib/model/keys.ts'
import type { Ipvs } from '../../lib/ipvs.ts'
import { COMMANDS } from '../helpers/commands.ts'
import {
  destMessage,
  failure,
  forbidUnhandledRejections,
  messages,
  open,
  SERVER,
  WEB,
} from '../session/replies.ts'

forbidUnhandledRejections()

describe('IpvsError', () => {
  test('looks as system errors of Node do', () => {
    const error = new IpvsError({ errno: 3, command: 'deleteService', service: WEB })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'IpvsError',
      code: 'ESRCH',
      errno: -3,
      command: 'deleteService',
      service: WEB,
    })
    expect(String(error)).toBe(
      'IpvsError: ESRCH: deleteService tcp/192.0.2.1:80: there is no such virtual service in this network namespace.',
    )
    expect(error.stack).toContain('errors.test.ts')
  })

  test('has no field that means nothing', () => {
    const error = new IpvsError({ errno: 1, command: 'flush' })
    for (const field of ['service', 'realServer', 'syscall', 'kernelMessage'])
      expect(error).not.toHaveProperty(field)
  })

  test('names the service and the server, and repeats the words of the kernel', () => {
    const error = new IpvsError({
      errno: 22,
      command: 'addRealServer',
      service: { protocol: 'udp', address: '2001:db8::1', port: 53 },
      realServer: { address: '2001:db8::2', port: 5353 },
      kernelMessage: 'Attribute failed policy validation',
    })
    expect(error.message).toMatch(/^EINVAL: addRealServer udp\/\[2001:db8::1\]:53 -> \[2001:db8::2\]:5353: /)
    expect(error.message).toContain('The kernel says: Attribute failed policy validation.')
    expect(error.kernelMessage).toBe('Attribute failed policy validation')
  })

  test.each<[string, number, string, RegExp]>([
    ['flush', 1, 'EPERM', /CAP_NET_ADMIN in the initial user namespace/],
    ['addService', 2, 'ENOENT', /ip_vs_<scheduler>/],
    ['editService', 2, 'ENOENT', /scheduler .*or persistence engine/],
    ['editRealServer', 2, 'ENOENT', /no such real server/],
    ['deleteRealServer', 2, 'ENOENT', /address and port/],
    ['addService', 17, 'EEXIST', /./],
    ['addRealServer', 17, 'EEXIST', /./],
    ['startSyncDaemon', 17, 'EEXIST', /./],
    ['addRealServer', 22, 'EINVAL', /ip link set lo up/],
    ['startSyncDaemon', 22, 'EINVAL', /multicast/],
    ['setTimeouts', 22, 'EINVAL', /CONFIG_HZ/],
    ['stopSyncDaemon', 3, 'ESRCH', /no sync daemon/],
    ['startSyncDaemon', 19, 'ENODEV', /interface/],
    ['startSyncDaemon', 101, 'ENETUNREACH', /route/],
    ['flush', 110, 'ETIMEDOUT', /timeoutMs/],
    ['flush', 105, 'ENOBUFS', /not known/],
    ['flush', 9, 'EBADF', /Ipvs\.open\(\)/],
    ['snapshot', 11, 'EAGAIN', /kept changing/],
    ['services', 74, 'EBADMSG', /could not be read/],
    ['flush', 12345, 'ERRNO_12345', /failed/],
  ])('%s: errno %i is %s and says what to do', (command, errno, code, message) => {
    const error = new IpvsError({ errno, command })
    expect([error.code, error.errno]).toEqual([code, -errno])
    expect(error.message).toMatch(message)
    expect(error.message.startsWith(`${code}: ${command}: `)).toBe(true)
  })

  test.each([
    ['addService', 2, { scheduler: 'nosuch' }, "scheduler 'nosuch' (module ip_vs_nosuch) not found"],
    [
      'editService',
      2,
      { scheduler: 'rr', persistenceEngine: 'sip' },
      "scheduler 'rr' (module ip_vs_rr) or persistence engine 'sip' (module ip_vs_pe_sip) not found",
    ],
    ['startSyncDaemon', 19, { multicastInterface: 'eth9' }, "there is no interface 'eth9' in this network"],
  ])('%s: errno %i names what was not found', (command, errno, details, message) => {
    expect(new IpvsError({ errno, command, ...details }).message).toContain(message)
  })

  test.each([
    ['open', 'setns', 1, /CAP_SYS_ADMIN/],
    ['open', 'open', 2, /there is no network namespace/],
    ['open', 'open', 13, /may not read/],
    ['open', 'setns', 22, /not a network namespace/],
    ['open', 'socket', 97, /no generic netlink/],
    ['probe', 'unshare', 1, /CAP_SYS_ADMIN/],
    ['flush', 'sendmsg', 105, /./],
  ])('%s, at %s with errno %i', (command, syscall, errno, message) => {
    const error = new IpvsError({ errno, command, syscall, noNamespace: syscall === 'open' })
    expect(error.syscall).toBe(syscall)
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('modprobe')
  })

  test.each([
    [
      'open',
      2,
      "ENOENT: open: there is no network namespace 'blue'; `ip netns list` shows those that have a name.",
    ],
    ['open', 13, "EACCES: open: this user may not read the file of the network namespace 'blue'."],
    ['open', 40, "ELOOP: open: the file of the network namespace 'blue' could not be opened."],
    ['setns', 22, "EINVAL: open: the file 'blue' is not a network namespace."],
  ])('at %s with errno %i: the network namespace is named', (syscall, errno, message) => {
    const noNamespace = syscall === 'open'
    const error = new IpvsError({ errno, command: 'open', syscall, noNamespace, netns: 'blue' })
    expect(error.message).toBe(message)
  })

  test('a file of the kernel that cannot be opened is no network namespace', () => {
    const why = (command: string, errno: number): string =>
      new IpvsError({ errno, command, syscall: 'open' }).message
    expect(why('sysctls', 24)).toBe('EMFILE: sysctls: its file under /proc could not be opened.')
    expect(why('connections', 2)).toMatch(
      /^ENOENT: connections: there is no \/proc\/net\/ip_vs_conn: load IPVS/,
    )
  })

  test.each(['open', 'flush', 'drain', 'addService'])(
    '%s: a family that is not there is no service that is not there',
    (command) => {
      const error = new IpvsError({ errno: 2, command, noFamily: true })
      expect(error).toMatchObject({ code: 'ENOENT', noFamily: true })
      expect(error.message).toContain('modprobe ip_vs')
    },
  )

  test('names every errno as Node does', () => {
    let named = 0
    for (const [name, errno] of Object.entries(constants.errno)) {
      const ours = errnoName(errno)
      if (ours.startsWith('ERRNO_')) continue
      // EAGAIN and EOPNOTSUPP have a second name of the same number.
      const names = Object.entries(constants.errno).filter(([, number]) => number === errno)
      expect(names.map(([other]) => other)).toContain(ours)
      if (ours === name) named += 1
    }
    expect(named).toBeGreaterThan(30)
  })
})

describe('text of what an error is about', () => {
  test.each([
    [{ protocol: 'tcp', address: '192.0.2.1', port: 80 }, 'tcp/192.0.2.1:80'],
    [{ protocol: 'udp', address: '2001:db8::1', port: 53 }, 'udp/[2001:db8::1]:53'],
    [{ protocol: 50, address: '192.0.2.1', port: 0 }, '50/192.0.2.1:0'],
    [{ protocol: 'fwmark', fwmark: 5 }, 'fwmark/5'],
    [{ protocol: 'fwmark', fwmark: 5, family: 'ipv4' }, 'fwmark/5'],
    [{ protocol: 'fwmark', fwmark: 5, family: 'ipv6' }, 'fwmark6/5'],
  ] as const)('%o is %s', (key, text) => {
    expect(serviceName(key)).toBe(text)
  })

  test('an endpoint', () => {
    expect(endpointName('10.0.0.1', 0)).toBe('10.0.0.1:0')
    expect(endpointName('::1', 80)).toBe('[::1]:80')
    expect(endpointName('::1')).toBe('::1')
  })
})

describe('an addon that does not load', () => {
  const search = { machine: 'linux-x64, glibc, Node-API 10', told: false, folder: '/somewhere' }

  test('says where it was looked for, what each file said, and how to build it', () => {
    const error = new Error('bad header')
    const found = addonLoadError({ ...search, misses: [{ path: '/a.node', error }, { path: '/b.node' }] })
    expect(found).toMatchObject({ code: 'ERR_IPVS_ADDON', cause: error })
    expect(found.message).toMatch(
      /\(linux-x64, glibc, Node-API 10\).*\/a\.node \(bad header\), \/b\.node \(no such file\)\..*`npx node-gyp rebuild --directory '\/somewhere\/native'`/,
    )
  })

  test('says which variable named the file', () => {
    const found = addonLoadError({ ...search, told: true, misses: [{ path: '/elsewhere/ipvs.node' }] })
    expect(found.message).toMatch(
      /IPVS_ADDON names \/elsewhere\/ipvs\.node \(no such file\)\..*unset IPVS_ADDON/,
    )
  })

  test('is another error where this is not Linux', () => {
    expect(platformError('darwin')).toMatchObject({ code: 'ERR_IPVS_PLATFORM' })
    expect(platformError('darwin').message).toContain('darwin')
  })
})

describe('an error of a call', () => {
  const CALLS: readonly [string, number, (ipvs: Ipvs) => Promise<unknown>, object][] = [
    ['info', COMMANDS.getInfo, (ipvs) => ipvs.info(), {}],
    ['timeouts', COMMANDS.getConfig, (ipvs) => ipvs.timeouts(), {}],
    ['setTimeouts', COMMANDS.setConfig, (ipvs) => ipvs.setTimeouts({ udpSeconds: 5 }), {}],
    ['flush', COMMANDS.flush, (ipvs) => ipvs.flush(), {}],
    ['zero', COMMANDS.zero, (ipvs) => ipvs.zero(WEB), { service: WEB }],
    ['services', COMMANDS.getService, (ipvs) => ipvs.services(), {}],
    ['service', COMMANDS.getService, (ipvs) => ipvs.service(WEB), { service: WEB }],
    ['addService', COMMANDS.newService, (ipvs) => ipvs.addService(WEB), { service: WEB }],
    ['editService', COMMANDS.getService, (ipvs) => ipvs.editService(WEB, {}), { service: WEB }],
    ['deleteService', COMMANDS.deleteService, (ipvs) => ipvs.deleteService(WEB), { service: WEB }],
    ['realServers', COMMANDS.getDest, (ipvs) => ipvs.realServers(WEB), { service: WEB }],
    ['realServer', COMMANDS.getDest, (ipvs) => ipvs.realServer(WEB, SERVER), { service: WEB }],
    [
      'addRealServer',
      COMMANDS.newDest,
      (ipvs) => ipvs.addRealServer(WEB, SERVER),
      { service: WEB, realServer: SERVER },
    ],
    [
      'editRealServer',
      COMMANDS.getDest,
      (ipvs) => ipvs.editRealServer(WEB, SERVER, {}),
      { service: WEB, realServer: SERVER },
    ],
    [
      'deleteRealServer',
      COMMANDS.deleteDest,
      (ipvs) => ipvs.deleteRealServer(WEB, SERVER),
      { service: WEB, realServer: SERVER },
    ],
    ['snapshot', COMMANDS.getService, (ipvs) => ipvs.snapshot(), {}],
    ['syncDaemons', COMMANDS.getDaemon, (ipvs) => ipvs.syncDaemons(), {}],
    [
      'startSyncDaemon',
      COMMANDS.newDaemon,
      (ipvs) => ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'lo' }),
      {},
    ],
    ['stopSyncDaemon', COMMANDS.deleteDaemon, (ipvs) => ipvs.stopSyncDaemon('master'), {}],
  ]

  test.each(CALLS)('%s tells all it knows', async (name, command, call, subject) => {
    const { ipvs, transport } = await open()
    transport.always(command, failure(1, { message: 'not for you' }))
    const error: unknown = await call(ipvs).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(IpvsError)
    expect(error).toMatchObject({
      code: 'EPERM',
      errno: -1,
      command: name,
      kernelMessage: 'not for you',
      ...subject,
    })
    expect(error).not.toHaveProperty('syscall')
  })

  test.each(CALLS)("%s has the caller's own function in its stack", async (_, command, call) => {
    const { ipvs, transport } = await open()
    transport.always(command, failure(105, { syscall: 'sendmsg' }))
    async function theFunctionOfTheCaller(): Promise<unknown> {
      return await call(ipvs)
    }
    const error: unknown = await theFunctionOfTheCaller().catch((thrown: unknown) => thrown)
    expect((error as Error).stack).toContain('theFunctionOfTheCaller')
    expect(error).toMatchObject({ syscall: 'sendmsg' })
  })

  test.each<[string, (ipvs: Ipvs) => Promise<unknown>]>([
    ['misuse', (ipvs) => ipvs.addRealServer(WEB, { ...SERVER, weight: -1 })],
    ['an edit that leads to misuse', (ipvs) => ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 9 })],
  ])("%s has the caller's own function in its stack", async (_, call) => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.getDest, messages(destMessage()))
    async function theFunctionOfTheCaller(): Promise<unknown> {
      return await call(ipvs)
    }
    const [refused] = await Promise.allSettled([theFunctionOfTheCaller(), ipvs.flush()])
    expect(refused).toMatchObject({ status: 'rejected', reason: expect.any(RangeError) })
    expect(((refused as PromiseRejectedResult).reason as Error).stack).toContain('theFunctionOfTheCaller')
  })

  test('of many calls in one batch each have their own caller', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.deleteService, failure(3))
    async function firstCaller(): Promise<void> {
      await ipvs.deleteService(WEB)
    }
    async function secondCaller(): Promise<void> {
      await ipvs.deleteService({ ...WEB, port: 81 })
    }
    const settled = await Promise.allSettled([firstCaller(), secondCaller()])
    const [first, second] = settled.map((one) => (one as PromiseRejectedResult).reason as IpvsError)
    expect(first?.stack).toContain('firstCaller')
    expect(first?.stack).not.toContain('secondCaller')
    expect(second?.stack).toContain('secondCaller')
    expect([first?.service, second?.service]).toEqual([WEB, { ...WEB, port: 81 }])
  })

  test('that nobody looks at is not thrown by the library itself', async () => {
    const { ipvs, transport } = await open()
    transport.always(COMMANDS.flush, failure(1))
    const calls = Array.from({ length: 20 }, () => ipvs.flush())
    await Promise.allSettled(calls)
    await ipvs.close()
  })
})
