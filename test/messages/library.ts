import { Ipvs } from '../../lib/index.ts'
import { COMMANDS } from '../helpers/commands.ts'
import { reply, ScriptedTransport } from '../helpers/scripted-transport.ts'
import { serviceMessage, WEB } from '../session/replies.ts'
import { type Case, js, type Room } from './room.ts'

/** A method whose request gets this answer. */
function spoilt(
  input: string,
  command: number,
  call: (ipvs: Ipvs) => Promise<unknown>,
  messages?: Uint8Array,
): Case {
  return {
    input,
    async message() {
      const transport = new ScriptedTransport()
      transport.always(command, messages === undefined ? {} : { messages })
      const ipvs = await Ipvs.open({ transport })
      return call(ipvs)
        .then(
          () => {
            throw new Error('it was read')
          },
          (error: unknown) => `${(error as Error).name}: ${(error as Error).message}`,
        )
        .finally(() => ipvs.close())
    },
  }
}

function message(...nests: readonly Uint8Array[]): Uint8Array {
  return reply.message({ command: COMMANDS.newService, flags: 2 }, ...nests)
}

const options: Room = {
  title: 'Services, real servers and their options',
  about: 'Arguments are checked before anything is sent.',
  cases: [
    js(`ipvs.addService('tcp/192.0.2.10:80')`),
    js(`ipvs.addService([])`),
    js(`ipvs.addService({})`),
    js(`ipvs.addService({ proto: 'tcp', address: '192.0.2.11', port: 80 })`),
    js(`ipvs.addService({ protocol: 'http', address: '192.0.2.11', port: 80 })`),
    js(`ipvs.addService({ protocol: 'TCP', address: '192.0.2.11', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', vip: '192.0.2.11', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, lb_algo: 'rr' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, quorum: 2 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, scheduler: 'round-robin' })`),
    js(`ipvs.addService({ protocol: 'tcp', colour: 'green', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', adress: '192.0.2.11', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: 'localhost', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '[2001:db8::1]', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: 'fe80::1%eth0', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.0/24', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.10:80', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.256', port: 80 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: '80' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80n })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80.5 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 65536 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 0 })`),
    js(`ipvs.addService({ protocol: 'fwmark', fwmark: 0 })`),
    js(`ipvs.addService({ protocol: 'fwmark', mark: 5 })`),
    js(`ipvs.addService({ protocol: 'fwmark', fwmark: 5, family: 6 })`),
    js(`ipvs.addService({ protocol: 'fwmark', fwmark: 5, famly: 'ipv6' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, schedular: 'rr' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, weight: 1 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, scheduler: 5 })`),
    js(
      `ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, scheduler: 'weighted-round-robin' })`,
    ),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, schedulerFlags: 'sh-port' })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, schedulerFlags: ['port'] })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, schedulerFlags: ['sh-port'] })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, onePacket: 1 })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, persistence: 300 })`),
    js(
      `ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, persistence: { timeout: 300 } })`,
    ),
    js(
      `ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, persistence: { netmask: '255.0.255' } })`,
    ),
    js(
      `ipvs.addService({ protocol: 'tcp', address: '2001:db8::1', port: 80, persistence: { netmask: '64' } })`,
    ),
    js(`ipvs.editService(WEB, 'rr')`),
    js(`ipvs.editService(WEB, { port: 81 })`),
    js(`ipvs.editService({ protocol: 'tcp', address: '192.0.2.11', port: 0 }, { persistence: null })`),
    js(`ipvs.editService(WEB, { schedulerFlags: ['mh-port'] })`),
    js(`ipvs.addRealServer(WEB, '10.0.0.9')`),
    js(`ipvs.addRealServer(WEB, { addr: '10.0.0.9' })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', prot: 8080 })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', wieght: 1 })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', weight: -1 })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', method: 'NAT' })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', method: '-g' })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', method: 'vxlan' })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', method: 'tunnel', tunnel: { type: 'vxlan' } })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', method: 'tunnel', tunnel: { type: 'gue' } })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', lowerThreshold: 5 })`),
    js(`ipvs.addRealServer(WEB, { address: '10.0.0.9', lowerThreshold: 5, upperThreshold: 4 })`),
    js(`ipvs.addRealServer(WEB, { address: '2001:db8::9', method: 'masquerade' })`),
    js(`ipvs.editRealServer(WEB, SERVER, 5)`),
    js(`ipvs.editRealServer(WEB, SERVER, { address: '10.0.0.10' })`),
    js(`ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 5 })`),
    js(`ipvs.setTimeouts(900)`),
    js(`ipvs.setTimeouts({ tcp: 900 })`),
    js(`ipvs.setTimeouts({ udpSeconds: 0 })`),
    js(`ipvs.startSyncDaemon('master')`),
    js(`ipvs.startSyncDaemon({ state: 'primary', multicastInterface: 'eth0' })`),
    js(`ipvs.startSyncDaemon({ state: 'master', interface: 'eth0' })`),
    js(`ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0', multicastGroup: '10.0.0.1' })`),
    js(`ipvs.setSysctl(5, 1)`),
    js(`ipvs.setSysctl('net.ipv4.vs.conntrack', 1)`),
    js(`ipvs.setSysctl('conntrack', true)`),
    js(`ipvs.setSysctl('conntrack', '1\\n0')`),
    js(`ipvs.services({ signal: 'now' })`),
    js(`ipvs.services({ bigint: 1 })`),
    js(`ipvs.services({ bigInt: true })`),
    js(`Ipvs.open('blue')`),
    js(`Ipvs.open({ netns: 5 })`),
    js(`Ipvs.open({ netns: '' })`),
    js(`Ipvs.open({ timeoutMs: -1 })`),
    js(`Ipvs.open({ netns: 'blue', transport: kernel })`),
    js(`Ipvs.open(kernel)`),
    js(`parseServiceKey('http/192.0.2.10:80')`),
    js(`parseServiceKey('tcp/192.0.2.10')`),
    js(`parseServiceKey('tcp/192.0.2.10:http')`),
    js(`parseServiceKey('tcp/2001:db8::1:80')`),
    js(`parseServiceKey('fwmark/five')`),
    js(`parseEndpoint('[2001:db8::7')`),
    js(`parseEndpoint('web1')`),
    js(`ipvs.deleteRealServer(WEB, '10.0.0.7:http')`),
    js(`ipvs.realServers('192.0.2.10:80')`),
    js(`(await ipvs.realServer(WEB, SERVER)).drain({ timeoutMs: 'long' })`),
    js(`(await ipvs.realServer(WEB, SERVER)).drain({ atTimeout: 'kill' })`),
    js(`(await ipvs.realServer(WEB, SERVER)).drain({ onProgress: true })`),
    js(`(await ipvs.realServer(WEB, SERVER)).drain({ keep: true, atTimeout: 'delete' })`),
  ],
}

const steps: Room = {
  title: 'Steps',
  about: '`runSteps()` checks all of them before it sends the first.',
  cases: [
    js(`ipvs.runSteps({ kind: 'delete-service', service: WEB })`),
    js(`ipvs.runSteps(['delete-service'])`),
    js(`ipvs.runSteps([{ kind: 'remove-service', service: WEB }])`),
    js(
      `ipvs.runSteps([{ kind: 'add-server', service: WEB, server: SERVER, after: { ...SERVER, weight: -1 } }])`,
    ),
    js(`ipvs.runSteps([{ kind: 'delete-server', service: WEB, server: '10.0.0.7:http' }])`),
    js(`ipvs.runSteps([{ kind: 'set-sysctl', name: 'Conntrack', after: '1' }])`),
  ],
}

const states: Room = {
  title: 'States',
  about: 'Errors in a state name the place.',
  cases: [
    js(`ipvs.apply('services: []')`),
    js(`ipvs.apply([])`),
    js(`ipvs.apply({})`),
    js(`ipvs.apply({ service: [] })`),
    js(`ipvs.apply({ services: null })`),
    js(`ipvs.apply({ services: {} })`),
    js(`ipvs.apply({ services: [], version: '1' })`),
    js(`ipvs.apply({ services: [], version: 2 })`),
    js(`ipvs.apply({ services: [], $schema: 1 })`),
    js(`ipvs.apply({ services: [5] })`),
    js(`ipvs.apply({ services: [WEB, { ...WEB, scheduler: 'rr' }] })`),
    js(`ipvs.apply({ services: [{ ...WEB, realservers: [] }] })`),
    js(`ipvs.apply({ services: [{ ...WEB, realServers: null }] })`),
    js(`ipvs.apply({ services: [{ ...WEB, realServers: [{ ...SERVER, weight: 'all' }] }] })`),
    js(`ipvs.apply({ services: [{ ...WEB, realServers: [{ ...SERVER, wieght: 1 }] }] })`),
    js(`ipvs.apply({ services: [{ ...WEB, realServers: [SERVER, SERVER] }] })`),
    js(`ipvs.apply({ services: [], timeouts: { tcpSeconds: 0 } })`),
    js(`ipvs.apply({ services: [], timeouts: 900 })`),
    js(`ipvs.apply({ services: [], syncDaemons: {} })`),
    js(`ipvs.apply({ services: [], syncDaemons: ['master'] })`),
    js(
      `ipvs.apply({ services: [], syncDaemons: [{ state: 'master', multicastInterface: 'eth0' }, { state: 'master', multicastInterface: 'eth1' }] })`,
    ),
    js(`ipvs.apply({ services: [], sysctls: [] })`),
    js(`ipvs.apply({ services: [], sysctls: { conntrack: true } })`),
    js(`ipvs.apply({ services: [], sysctls: { conntrack: '1'.repeat(5e6) } })`),
    js(`ipvs.apply({ services: [], sysctls: { 'net.ipv4.vs.conntrack': '1' } })`),
    js(`ipvs.apply({ services: [], sysctls: { conntrac: '1' } })`),
    js(`ipvs.apply({ services: [], sysctls: { nothing_like_it: '1' } })`),
    js(`ipvs.apply({ services: [], sysctls: { lblc_expiration: '60' } })`),
    js(`planStates({ services: [], sysctls: {} }, { sysctls: { nothing_like_it: '1' } })`),
    js(`planStates({ services: [] }, { services: [], timeouts: { tcpSeconds: 900 } })`),
    js(`planStates({ services: [] }, { services: [] }, { prun: false })`),
    js(`planStates({ services: [] }, { services: [] }, { prune: 'no' })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: '192.0.2.0/24' })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: { addresses: '192.0.2.0/24' } })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: { addresses: ['192.0.2.0/24/8'] } })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: { addresses: ['192.0.2/24'] } })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: { addresses: ['192.0.2.0/33'] } })`),
    js(`planStates({ services: [] }, { services: [] }, { scope: { fwmarks: ['5'] } })`),
    js(`planStates({ services: [WEB] }, { services: [] }, { scope: () => 'yes' })`),
    js(`planStates({ services: [] }, { services: [WEB] }, { scope: { addresses: ['198.51.100.0/24'] } })`),
    js(
      `planStates({ services: [] }, { services: [], timeouts: { tcpSeconds: 900 } }, { scope: { addresses: ['198.51.100.0/24'] } })`,
    ),
    js(`ipvs.apply({ services: [{ ...WEB, scheduler: 'my rr' }] })`),
    js(`ipvs.addService({ protocol: 'tcp', address: '192.0.2.11', port: 80, scheduler: '../x' })`),
    js(`ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'a/b' })`),
    js(`restrictState({ services: [] }, 5)`),
    js(`restrictState({ timeouts: { tcpSeconds: 60 } }, { addresses: ['192.0.2.0/24'] })`),
    js(`planStates({ services: [] }, { services: [{ ...WEB, schedulerFlags: [65] }] })`),
  ],
}

const plans: Room = {
  title: 'Plans as people read them',
  about: '`formatPlan()` gives these lines.',
  cases: [
    js(`formatPlan(await ipvs.plan(await ipvs.save()))`),
    js(
      `formatPlan(await ipvs.plan({ services: [{ ...WEB, scheduler: 'wlc', realServers: [{ ...SERVER, method: 'direct', port: 80 }] }, { protocol: 'fwmark', fwmark: 5 }], timeouts: { tcpSeconds: 60 } }))`,
    ),
    js(
      `await ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' }); await ipvs.startSyncDaemon({ state: 'backup', multicastInterface: 'eth0' }); return formatPlan(await ipvs.plan({ services: [], syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 7 }], sysctls: { conntrack: '1' } }))`,
    ),
    js(
      `formatPlan(await planStates({ services: [{ protocol: 'fwmark', fwmark: 5, realServers: [SERVER] }] }, { services: [{ protocol: 'fwmark', fwmark: 5, family: 'ipv6', realServers: [{ address: '2001:db8::7' }] }] }))`,
    ),
    js(
      `formatPlan(await planStates({ services: [{ ...WEB, persistenceEngine: 'sip', persistence: {} }] }, { services: [{ ...WEB, persistence: {} }] }))`,
    ),
    js(
      `formatPlan(await planStates({ services: [{ ...WEB, realServers: [SERVER] }] }, { services: [{ ...WEB, realServers: [{ ...SERVER, weight: 0 }] }] }))`,
    ),
    js(
      `formatPlan(await planStates({ services: [{ ...WEB, scheduler: 'sh', realServers: [SERVER, { address: '10.0.0.9' }] }] }, { services: [{ ...WEB, scheduler: 'sh', realServers: [{ address: '10.0.0.9' }, SERVER] }] }))`,
    ),
    js(`formatPlan('everything')`),
    js(`formatPlan({})`),
    js(`formatPlan({ steps: [] })`),
    js(`formatPlan(await ipvs.plan({ services: [] }), { colour: true })`),
  ],
}

/** The warnings of one service, a line for each. */
const warned = (service: string): Case =>
  js(`(await warningsOf([${service}])).map(({ message }) => message).join('\\n')`)

const warnings: Room = {
  title: 'Warnings',
  about: 'What the kernel accepts and ignores. Plans end with these lines, and `warningsOf()` gives them.',
  cases: [
    warned(`{ ...WEB, realServers: [SERVER] }`),
    warned(`{ ...WEB, realServers: [{ address: '2001:db8::7', port: 8080, method: 'tunnel' }] }`),
    warned(`{ protocol: 'fwmark', fwmark: 5, realServers: [SERVER] }`),
    warned(
      `{ protocol: 'fwmark', fwmark: 5, persistence: {}, realServers: [{ ...SERVER, method: 'masquerade' }] }`,
    ),
    warned(`{ ...WEB, port: 0, persistence: {}, realServers: [{ ...SERVER, method: 'masquerade' }] }`),
    warned(`{ ...WEB, port: 0 }`),
    warned(`{ ...WEB, realServers: [{ address: '10.0.0.7', tunnel: { type: 'gue', port: 6080 } }] }`),
    warned(
      `{ ...WEB, realServers: [{ address: '10.0.0.7', method: 'tunnel', tunnel: { type: 'gre', port: 6080, checksum: 'remcsum' } }] }`,
    ),
    warned(`{ ...WEB, onePacket: true }`),
    warned(`{ ...WEB, schedulerFlags: ['flag-1', 'flag-2'] }`),
    warned(`{ ...WEB, scheduler: 'sh', schedulerFlags: ['sh-port', 'flag-3'] }`),
    warned(
      `{ ...WEB, scheduler: 'rr', realServers: [{ address: '10.0.0.7' }, { address: '10.0.0.8', weight: 5 }] }`,
    ),
    warned(`{ ...WEB, persistenceEngine: 'sip' }`),
    warned(`{ ...WEB, persistence: {}, persistenceEngine: 'sip' }`),
  ],
}

const applies: Room = {
  title: 'Applying a state',
  about: 'Guards, plans that the table has left behind, and steps that failed.',
  cases: [
    js(`ipvs.apply({ services: [] }, { alow: ['add-server'] })`),
    js(`ipvs.apply({ services: [] }, { allow: 'add-server' })`),
    js(`ipvs.apply({ services: [] }, { allow: ['add'] })`),
    js(`ipvs.apply({ services: [] }, { maxDeletions: -1 })`),
    js(`ipvs.apply({ services: [] }, { force: 1 })`),
    js(`ipvs.apply({ services: [] }, { onProgress: 'log' })`),
    js(`ipvs.apply({ services: [] }, { drain: 60 })`),
    js(`ipvs.apply({ services: [] }, { drain: { seconds: 60 } })`),
    js(`ipvs.apply(ipvs.plan({ services: [] }))`),
    js(`ipvs.apply(await ipvs.plan({ services: [] }), { prune: false })`),
    js(`ipvs.apply({ ...(await ipvs.plan({ services: [] })), options: 5 })`),
    js(`ipvs.apply({ services: [] }, { allow: [], maxDeletions: Infinity })`),
    js(`ipvs.apply({ services: [] }, { allow: ['add-server'], maxDeletions: Infinity })`),
    js(`ipvs.apply({ services: [] }, { maxDeletions: 1 })`),
    js(`ipvs.apply({ services: [] })`),
    js(
      `ipvs.apply({ services: [{ ...WEB, scheduler: 'rr', realServers: [{ ...SERVER, method: 'masquerade' }] }] }, { maxDeletions: 0 })`,
    ),
    js(`ipvs.apply({ services: [{ ...WEB, scheduler: 'rr' }] })`),
    js(
      `const state = { services: [1, 2, 3, 4, 5, 6].map((port) => ({ ...WEB, port, realServers: [SERVER] })) }; await ipvs.apply(state, { maxDeletions: 3 }); await ipvs.apply({ services: state.services.map((service) => ({ ...service, realServers: [{ ...SERVER, weight: 0 }] })) })`,
    ),
    js(
      `const plan = await ipvs.plan({ services: [] }); await ipvs.addService({ ...WEB, port: 81 }); await ipvs.apply(plan)`,
    ),
    js(
      `const plan = await ipvs.plan({ services: [] }); await ipvs.editService(WEB, { scheduler: 'wlc' }); await ipvs.apply(plan)`,
    ),
    js(
      `const plan = await ipvs.plan({ services: [] }); await ipvs.deleteService(WEB); await ipvs.apply(plan)`,
    ),
    js(
      `kernel.failNext({ command: 'addRealServer', errno: 'ENOMEM' }); await ipvs.apply({ services: [{ ...WEB, port: 81, realServers: [SERVER] }] }, { prune: false })`,
    ),
    js(
      `kernel.failNext({ command: 'addRealServer', errno: 'ENOMEM' }); kernel.failNext({ command: 'deleteService', errno: 'EPERM' }); await ipvs.apply({ services: [{ ...WEB, port: 81, realServers: [SERVER] }] }, { prune: false })`,
    ),
    js(
      `kernel.failNext({ command: 'addRealServer', errno: 'ENOMEM' }); kernel.failNext({ command: 'deleteService', errno: 'EPERM', times: 7 }); await ipvs.apply({ services: [1, 2, 3, 4, 5, 6, 7].map((port) => ({ ...WEB, port, ...(port === 7 && { realServers: [SERVER] }) })) }, { prune: false })`,
    ),
    js(
      `kernel.failNext({ command: 'addRealServer', errno: 'ETIMEDOUT' }); kernel.beforeNext('addRealServer', () => kernel.failNext({ command: 'getService', errno: 'EPERM', times: 9 })); await ipvs.apply({ services: [{ ...WEB, port: 81, realServers: [SERVER] }] }, { prune: false })`,
    ),
    js(
      `kernel.failNext({ command: 'deleteService', errno: 'ENOMEM' }); kernel.beforeNext('deleteService', async () => { const other = await Ipvs.open({ transport: kernel }); await other.editService({ ...WEB, port: 81 }, { scheduler: 'sh' }); await other.close() }); await ipvs.apply({ services: [{ ...WEB, port: 81 }] })`,
    ),
    js(
      `kernel.failNext({ command: 'addRealServer', errno: 'ENOMEM' }); const { failed } = await ipvs.apply({ services: [{ ...WEB, scheduler: 'rr', realServers: [{ address: '10.0.0.9' }] }] }, { keepGoing: true }); return failed.map(({ error }) => error.message).join('\\n')`,
    ),
  ],
}

const oneDrain: Room = {
  title: 'Draining one real server',
  about: 'Why a drain is refused, and the `reason` of one that leaves its server.',
  cases: [
    js(
      `await ipvs.deleteRealServer(WEB, { address: '10.0.0.8', port: 8080 }); await (await ipvs.realServer(WEB, SERVER)).drain()`,
    ),
    js(
      `kernel.traffic(WEB, { connections: 2 }); kernel.traffic(WEB, { connections: 2, close: true }); return (await (await ipvs.realServer(WEB, SERVER)).drain({ timeoutMs: 0 })).reason`,
    ),
    js(
      `await ipvs.editService(WEB, { persistence: {} }); for (const client of kernel.traffic(WEB, { connections: 2 })) client.reset(); kernel.advance(10); return (await (await ipvs.realServer(WEB, SERVER)).drain({ timeoutMs: 0 })).reason`,
    ),
    js(
      `kernel.traffic(WEB, { connections: 2 }); return (await (await ipvs.realServer(WEB, SERVER)).drain({ onProgress: () => ipvs.editRealServer(WEB, SERVER, { weight: 5 }), intervalMs: 10 })).reason`,
    ),
  ],
}

const drains: Room = {
  title: 'Draining while a state is applied',
  about: 'Someone else changes what is to be deleted while its connections end.',
  cases: [
    js(`whileDrained({ services: [] }, () => ipvs.editRealServer(WEB, SERVER, { weight: 5 }))`),
    js(`whileDrained({ services: [] }, () => ipvs.addRealServer(WEB, { address: '10.0.0.9', weight: 0 }))`),
    js(`whileDrained({ services: [] }, () => ipvs.editService(WEB, { scheduler: 'wlc' }))`),
    js(`whileDrained({ services: [] }, () => ipvs.editRealServer(WEB, SERVER, { upperThreshold: 5 }))`),
    js(
      `whileDrained({ services: [{ ...WEB, scheduler: 'rr', realServers: [{ ...SERVER, method: 'masquerade' }] }] }, () => ipvs.editRealServer(WEB, SERVER, { weight: 0 }))`,
    ),
  ],
}

const refusals: Room = {
  title: 'Refusals of the kernel',
  about: 'Each is an `IpvsError`; docs/errors.md has a heading for each `code`.',
  cases: [
    js(`ipvs.deleteService({ ...WEB, port: 81 })`),
    js(`ipvs.stopSyncDaemon('master')`),
    js(`ipvs.addService(WEB)`),
    js(`ipvs.addRealServer(WEB, SERVER)`),
    js(`kernel.privileged = false; await ipvs.services()`),
    js(`kernel.loaded = false; await ipvs.services()`),
    js(`Ipvs.open({ transport: createMemoryKernel({ loaded: false }) }).then((other) => other.info())`),
    js(`ipvs.service({ ...WEB, port: 81 })`),
    js(`ipvs.realServer(WEB, { address: '10.0.0.9' })`),
    js(`ipvs.deleteRealServer(WEB, { address: '10.0.0.9' })`),
    js(`ipvs.addService({ ...WEB, port: 81, scheduler: 'nosuch' })`),
    js(
      `ipvs.addService({ ...WEB, port: 81, scheduler: 'nosuch', persistence: {}, persistenceEngine: 'nosuch' })`,
    ),
    js(`new IpvsError({ errno: 2, command: 'addService' })`),
    js(`ipvs.addRealServer(WEB, { address: '0.0.0.0' })`),
    js(
      `await ipvs.addRealServer(WEB, { address: '2001:db8::7', method: 'tunnel' }); await ipvs.editRealServer(WEB, { address: '2001:db8::7' }, { method: 'direct' })`,
    ),
    js(
      `kernel.failNext({ command: 'editRealServer', errno: 'EINVAL' }); await ipvs.editRealServer(WEB, SERVER, { weight: 5 })`,
    ),
    js(
      `await ipvs.addRealServer(WEB, { address: '2001:db8::7', method: 'tunnel' }); await ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })`,
    ),
    js(`(await on({ hz: 1000 })).setTimeouts({ tcpSeconds: 2147484 })`),
    js(
      `kernel.failNext({ command: 'setTimeouts', errno: 'EINVAL' }); await ipvs.setTimeouts({ tcpSeconds: 900 })`,
    ),
    js(`kernel.failNext({ errno: 'EINVAL' }); await ipvs.flush()`),
    js(`kernel.failNext({ errno: 'ERANGE' }); await ipvs.editRealServer(WEB, SERVER, { lowerThreshold: 0 })`),
    js(`(await on({ ipv6: false })).addService({ protocol: 'tcp', address: '2001:db8::1', port: 80 })`),
    js(`ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth7' })`),
    js(`new IpvsError({ errno: 19, command: 'startSyncDaemon' })`),
    js(
      `const a = { state: 'master', multicastInterface: 'eth0' }; await ipvs.startSyncDaemon(a); await ipvs.startSyncDaemon(a)`,
    ),
    ...['ENETUNREACH', 'EADDRINUSE', 'ENOBUFS', 'ETIMEDOUT'].map((errno) =>
      js(
        `kernel.failNext({ errno: '${errno}' }); await ipvs.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })`,
      ),
    ),
    ...[
      'ENOPROTOOPT',
      'EOPNOTSUPP',
      'ENOMEM',
      'ECANCELED',
      'EBUSY',
      'EBADMSG',
      'EEXIST',
      'ENOENT',
      'EIO',
    ].map((errno) => js(`kernel.failNext({ errno: '${errno}' }); await ipvs.flush()`)),
    js(`kernel.failNext({ errno: 'EIO', syscall: 'sendmsg' }); await ipvs.flush()`),
    js(
      `kernel.failNext({ errno: 'EINVAL', kernelMessage: 'Attribute failed policy validation' }); await ipvs.flush()`,
    ),
    js(
      `for (let times = 0; times < 8; times++) kernel.interruptNextDump('getService'); await ipvs.services()`,
    ),
    js(`await ipvs.close(); await ipvs.services()`),
    js(`new IpvsError({ errno: 1, command: 'open', netns: 'blue', syscall: 'setns' })`),
    js(`new IpvsError({ errno: 22, command: 'open', netns: '/etc/passwd', syscall: 'setns' })`),
    js(`new IpvsError({ errno: 2, command: 'open', netns: 'blue', syscall: 'open', noNamespace: true })`),
    js(
      `new IpvsError({ errno: 13, command: 'open', netns: '/proc/1/ns/net', syscall: 'open', noNamespace: true })`,
    ),
    js(`new IpvsError({ errno: 24, command: 'open', netns: 'blue', syscall: 'open', noNamespace: true })`),
    js(`new IpvsError({ errno: 97, command: 'open', syscall: 'socket' })`),
    js(`new IpvsError({ errno: 2, command: 'connections', syscall: 'open' })`),
    js(`new IpvsError({ errno: 13, command: 'totals', syscall: 'open' })`),
    js(`ipvs.setSysctl('nosuch', 1)`),
    js(`ipvs.setSysctl('conntrack', 'on')`),
    js(`ipvs.setSysctl('sync_ports', 'many')`),
    ...['ERANGE', 'EINVAL', 'EACCES', 'EROFS', 'EIO'].map((errno) =>
      js(
        `const transport = new ScriptedTransport(); transport.setSysctl = async () => ({ errno: ${
          { ERANGE: '34', EACCES: '13', EINVAL: '22', EROFS: '30', EIO: '5' }[errno] ?? ''
        }, syscall: 'write' }); await (await over(transport)).setSysctl('est_cpulist', '0-3')`,
      ),
    ),
    js(
      `const transport = new ScriptedTransport(); transport.lock = async () => ({ holder: { pid: 4711, command: 'ipvs apply web.yaml' } }); await (await over(transport)).lock({ wait: false })`,
    ),
    js(
      `const transport = new ScriptedTransport(); transport.lock = async () => ({ holder: { pid: process.pid, command: 'autoscaler.mjs' } }); await (await over(transport)).lock({ wait: false })`,
    ),
    js(
      `const transport = new ScriptedTransport(); transport.lock = async () => ({ holder: {} }); await (await over(transport)).lock({ wait: false })`,
    ),
    js(
      `const transport = new ScriptedTransport(); transport.lock = async () => ({ errno: 13, syscall: 'mkdir' }); await (await over(transport)).lock()`,
    ),
    js(`platformError('darwin')`),
    js(
      `return addonLoadError({ machine: 'linux-riscv64, glibc, Node-API 10', misses: [{ path: '/srv/app/node_modules/ipvs/prebuilds/linux-riscv64/ipvs.node' }], told: false, folder: '/srv/app/node_modules/ipvs' })`,
    ),
    js(
      `const error = Object.assign(new Error('Cannot load native addon because loading addons is disabled.'), { code: 'ERR_DLOPEN_DISABLED' }); return addonLoadError({ machine: 'linux-x64, glibc, Node-API 9', misses: [{ path: '/srv/ipvs.node', error }], told: false })`,
    ),
    ...['machine: 183', 'machine: 2', 'machine: 62, leastBytes: 1000'].map((header) =>
      js(
        `const error = new Error(faultOf({ ${header} })); return addonLoadError({ machine: 'linux-x64, glibc, Node-API 10', misses: [{ path: '/opt/ipvs.node', error }, { path: '/opt/folder', error: new Error('it is not a file') }], told: false, folder: '/srv/ipvs' })`,
      ),
    ),
    js(
      `return addonLoadError({ machine: 'linux-x64, musl, Node-API 10', misses: [{ path: '/srv/app/ipvs.node', error: new Error('/srv/app/ipvs.node: invalid ELF header') }], told: false })`,
    ),
    js(
      `return addonLoadError({ machine: 'linux-x64, unknown C library, Node-API 10', misses: [{ path: '/opt/other.node', error: new Error('this is not the addon of this version of ipvs') }], told: true, folder: '/srv/app/node_modules/ipvs' })`,
    ),
  ],
}

const replies: Room = {
  title: 'Replies that cannot be read',
  about: 'No kernel sends these: the bytes of each are spoilt.',
  cases: [
    spoilt('ipvs.info(), answered by no message', COMMANDS.getInfo, (ipvs) => ipvs.info()),
    spoilt(
      'ipvs.services(), answered by 6 bytes',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      new Uint8Array(6),
    ),
    spoilt(
      'ipvs.services(), answered by the first 40 bytes of a message',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      serviceMessage().subarray(0, 40),
    ),
    spoilt(
      'ipvs.services(), answered by a message that has nothing in it',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      message(),
    ),
    spoilt(
      'ipvs.services(), answered by a service that has only a family',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      message(reply.nest(1, reply.u16(1, 2))),
    ),
    spoilt(
      'ipvs.services(), answered by a service whose family is 7',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      message(reply.nest(1, reply.u16(1, 7), reply.u32(5, 1))),
    ),
    spoilt(
      'ipvs.services(), answered by a service whose family has 1 byte',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      message(reply.nest(1, reply.u8(1, 2))),
    ),
    spoilt(
      'ipvs.services(), answered by a service with an attribute that is longer than the service',
      COMMANDS.getService,
      (ipvs) => ipvs.services(),
      message(reply.attr(1, Uint8Array.from([255, 255, 1, 0]))),
    ),
    spoilt(
      'ipvs.realServers(WEB), answered by a message that has nothing in it',
      COMMANDS.getDest,
      (ipvs) => ipvs.realServers(WEB),
      message(),
    ),
    spoilt(
      'ipvs.realServers(WEB), answered by a real server that has only a port',
      COMMANDS.getDest,
      (ipvs) => ipvs.realServers(WEB),
      message(reply.nest(2, reply.u16be(2, 80))),
    ),
    spoilt(
      'ipvs.syncDaemons(), answered by a message that has nothing in it',
      COMMANDS.getDaemon,
      (ipvs) => ipvs.syncDaemons(),
      message(),
    ),
    spoilt(
      'ipvs.syncDaemons(), answered by a daemon whose state is 7',
      COMMANDS.getDaemon,
      (ipvs) => ipvs.syncDaemons(),
      message(reply.nest(3, reply.u32(1, 7))),
    ),
  ],
}

const reconciling: Room = {
  title: 'Reconciling',
  about: 'Errors that retrying cannot cure go to `onError`.',
  cases: [
    js(`ipvs.reconcile({ services: [] }, { dryRun: true, onError() {} })`),
    js(`ipvs.reconcile({ services: [] }, {})`),
    js(`ipvs.reconcile({ services: [] }, { onError() {}, onRun: 1 })`),
    js(`ipvs.reconcile({ services: [] }, { onError() {}, intervalMs: 0 })`),
    js(`ipvs.reconcile({ services: [] }, { onError() {}, every: 5 })`),
    js(`ipvs.reconcile(5, { onError() {} })`),
    js(`ipvs.reconcile({ file: 5 }, { onError() {} })`),
    js(`ipvs.reconcile({ file: 'web.json', watch: false }, { onError() {} })`),
    js(`await reconciled({ services: [5] })`),
    js(`await reconciled(() => 5)`),
    js(`await reconciled({ file: file('gone.json') })`),
    js(`await reconciled({ file: file('web.yaml') })`, { 'web.yaml': 'services:\n- protocol: tcp\n' }),
  ],
}

const files: Room = {
  title: 'Files',
  about: 'Errors in a file name the file.',
  cases: [
    js(`ipvs.saveToFile(5)`),
    js(`ipvs.saveToFile('table')`),
    js(`ipvs.saveToFile('table', { format: 'toml' })`),
    js(`ipvs.saveToFile('table.json', { lossy: true })`),
    js(`ipvs.saveToFile('table.rules', { onLoss: true })`),
    js(`ipvs.saveToFile('table.json', { keep: -1 })`),
    js(`await ipvs.flush(); await ipvs.saveToFile(file('two.rules'))`, {
      'two.rules': '-A -t 192.0.2.10:80 -s rr\n-A -f 5 -s rr\n',
    }),
    js(`await ipvs.flush(); await ipvs.saveToFile(file('names.rules'))`, {
      'names.rules': '-A -t web.example:http -s rr\n',
    }),
    js(`await ipvs.flush(); await ipvs.saveToFile(file('table.json'))`, {
      'table.json': '{"services": [{"protocol": "fwmark", "fwmark": 5}]}',
    }),
    js(`ipvs.saveToFile(file('gone/table.json')).catch(({ code, syscall }) => code + ': ' + syscall)`),
    js(`ipvs.saveToFile('/dev/null', { format: 'json' })`),
    js(
      `process.getBuiltinModule('node:fs').symlinkSync('web.json', file('link.json')); await ipvs.saveToFile(file('link.json'))`,
    ),
    js(`ipvs.save({ sysctls: 'conntrack' })`),
    js(`ipvs.save({ sysctls: ['conntrac'] })`),
    js(`ipvs.save({ sysctls: ['lblc_expiration'] })`),
    js(`ipvs.save({ timeouts: 1 })`),
    js(`ipvs.save({ daemons: false })`),
    js(`readState('')`),
    js(`readState('web.json', { formt: 'yaml' })`),
    js(`readState(file('gone.json'))`),
    js(`readState(file(''))`),
    js(`readState('/dev/zero')`),
    js(
      `process.getBuiltinModule('node:child_process').execFileSync('mkfifo', [file('pipe')]); await readState(file('pipe'))`,
    ),
    js(
      `const server = process.getBuiltinModule('node:net').createServer(); await new Promise((resolve) => server.listen(file('socket'), resolve)); await readState(file('socket')).finally(() => server.close())`,
    ),
    js(
      `process.getBuiltinModule('node:fs').truncateSync(file('web.json'), 2 ** 28 + 1); await readState(file('web.json'))`,
      { 'web.json': '' },
    ),
    js(`readState(file('web.yaml'))`, { 'web.yaml': 'services: []\ntimeouts: { tcpSeconds: 90' }),
    js(`readState(file('web.yaml'))`, { 'web.yaml': 'services: []\ntimeouts:\n  tcpSeconds: 90' }),
    js(`readState(file('web.rules'))`, { 'web.rules': '-A -t 192.0.2.10:80' }),
    js(`readState(file('web.json'))`, { 'web.json': Uint8Array.from([0x7b, 0xff, 0x7d]) }),
    js(`readState(file('web.json'))`, { 'web.json': Uint8Array.from([0x1f, 0x8b, 8, 0]) }),
    js(`readState(file('web.json'))`, { 'web.json': Buffer.from('\ufeff{}', 'utf16le') }),
    js(`readState(file('web.json'))`, { 'web.json': '' }),
    js(`ipvs.restoreFromFile(file('web.json'))`, { 'web.json': '{"services": [{"protocol": "tcp"}]}' }),
    js(`ipvs.restore('{"services": []}', { dryrun: true })`),
  ],
}

const memory: Room = {
  title: 'The in-memory kernel',
  about: 'Its options, faults and clients.',
  cases: [
    js(`createMemoryKernel('6.12')`),
    js(`createMemoryKernel({ versoin: '6.12' })`),
    js(`createMemoryKernel({ version: '2.6' })`),
    js(`createMemoryKernel({ schedulers: 'rr' })`),
    js(`createMemoryKernel({ schedulers: [''] })`),
    js(`createMemoryKernel({ ipv6: 1 })`),
    js(`createMemoryKernel({ hz: 0 })`),
    js(`createMemoryKernel({ interfaces: ['eth0'] })`),
    js(`createMemoryKernel({ interfaces: [{ name: 'eth0', addresses: ['10.0.0.1/33'] }] })`),
    js(`createMemoryKernel({ interfaces: [{ name: 'eth0', mtu: 1500 }] })`),
    js(`createMemoryKernel({ sysctls: { conntrac: 1 } })`),
    js(`createMemoryKernel({ sysctls: { conntrack: 'on' } })`),
    js(`(await kernel.batch([{ command: 4, attributes: Uint8Array.of(1, 2, 3) }]))[0].failure.message`),
    js(`kernel.advance(-1)`),
    js(`kernel.loaded = 'no'`),
    js(`kernel.failNext('ENOMEM')`),
    js(`kernel.failNext({ error: 'ENOMEM' })`),
    js(`kernel.failNext({ errno: 'EOOPS' })`),
    js(`kernel.failNext({ errno: 'ENOMEM', command: 'addDest' })`),
    js(`kernel.failNext({ errno: 'ENOMEM', times: 0 })`),
    js(`kernel.beforeNext('addService', 5)`),
    js(`kernel.duringNextDump('getInfo', () => {})`),
    js(`kernel.delayNext(5)`),
    js(`kernel.delayNext({ seconds: 5 })`),
    js(`kernel.connect(WEB, 5)`),
    js(`kernel.connect(WEB, { port: 5 })`),
    js(`kernel.connect(WEB, { clientAddress: '2001:db8::5' })`),
    js(`kernel.connect(WEB, { virtualPort: 5 })`),
    js(`kernel.connect({ protocol: 50, address: '192.0.2.10', port: 80 })`),
    js(`kernel.traffic(WEB, { packets: 5 })`),
    js(`kernel.traffic(WEB, { connections: -1 })`),
    js(`kernel.connect(WEB).send({ packets: 5 })`),
    js(`kernel.connect(WEB).send(5)`),
  ],
}

export const libraryRooms: readonly Room[] = [
  options,
  steps,
  states,
  plans,
  warnings,
  applies,
  oneDrain,
  drains,
  refusals,
  replies,
  reconciling,
  files,
  memory,
]
