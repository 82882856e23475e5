import {
  connectionsNearLimit,
  deletedHoldClients,
  hashSmall,
  quiescentHoldClients,
  reuseHoldsClients,
  trackingFull,
} from '../../lib/doctor/findings/capacity.ts'
import { firewallDrops, sourceUnchanged } from '../../lib/doctor/findings/firewall.ts'
import type { Link } from '../../lib/doctor/findings/host.ts'
import { besideEbpf, besideKubeProxy } from '../../lib/doctor/findings/neighbours.ts'
import type { Look, Situation, TableSeen } from '../../lib/doctor/findings/situation.ts'
import { syncInterface, syncMismatch } from '../../lib/doctor/findings/sync.ts'
import {
  allQuiescent,
  ftpUnaided,
  noServers,
  persistenceOfOne,
  persistenceOverlaps,
  schedulerChanges,
  shadowed,
} from '../../lib/doctor/findings/table.ts'
import type { Connection, SyncDaemon } from '../../lib/index.ts'
import { DIRECTOR, foundBy, link, onDirector, server, service, withSysctls } from '../helpers/doctor-host.ts'
import { notAvailable } from '../../lib/doctor/findings/access.ts'
import { EXPLANATIONS } from '../../lib/doctor/findings/explanations.ts'
import type { Finding } from '../../lib/doctor/findings/finding.ts'
import { type HostOptions, readHost } from '../../lib/doctor/host.ts'
import { type FakeMachine, leaveMachine, onMachine } from '../helpers/fake-machine.ts'
import { DOCTOR_CASES } from '../doctor/cases.ts'
import { command } from './command.ts'
import { type Case, js, type Room } from './room.ts'

/** A finding as text. */
function said({ code, severity, message, effect, commands, guide }: Finding): string {
  return [`${severity}: ${code}`, message, effect, ...commands, `${guide.sentence} (${guide.page})`].join(
    '\n',
  )
}

/** On a machine that is made by hand. */
function on(machine: FakeMachine, { input, message }: Case, note: string): Case {
  return {
    input: `${input}  # ${note}`,
    async message() {
      onMachine(machine)
      try {
        return await message()
      } finally {
        leaveMachine()
      }
    },
  }
}

/** What could not be read. */
function unreadOn(machine: FakeMachine, input: string, options: HostOptions = {}): Case {
  return on(
    machine,
    {
      input: 'what could not be read',
      message: async () =>
        (await readHost(options)).unread.map(({ what, why }) => `${what}: ${why}`).join('\n'),
    },
    input,
  )
}

/** A sysctl that no machine has, so that nothing can be set. */
const LOUD = { 'net.ipv4.conf.all.arp_announce': '2', 'net.ipv4.conf.all.arp_ignore': '0' }

/** What is seen on a director, of which a sentence says what is wrong. */
function seen(
  input: string,
  look: Look,
  more: Partial<Situation> = {},
  sysctls: Readonly<Record<string, string>> = {},
): Case {
  const situation = onDirector(more)
  return findingsOf(input, look, { ...situation, host: withSysctls(situation.host, sysctls) })
}

function findingsOf(input: string, look: Look, situation: Situation): Case {
  return { input, message: () => Promise.resolve(foundBy(look, situation).map(said).join('\n\n')) }
}

const NFT_FILTER = ['input', 'forward'].map((hook) => ({
  chain: {
    family: 'ip',
    table: 'filter',
    name: hook,
    hook,
    prio: 0,
    policy: 'drop',
  },
}))
const iptables = (...lines: readonly string[]): Partial<Situation> => ({
  host: { ...DIRECTOR, firewall: { iptables: lines.join('\n') } },
})
const withLinks = (...links: readonly Link[]): Partial<Situation> => ({ host: { ...DIRECTOR, links } })
const [QUIET, BUSY, WHOLE] = [
  server('10.0.0.12:80', { weight: 0, inactiveConnections: 3, persistentConnections: 2 }),
  server('10.0.0.11:80', { activeConnections: 40_000 }),
  service('tcp/192.0.2.10:0', { servers: [server('10.0.0.11:0'), server('10.0.0.12:0')] }),
]
const persistence = { timeoutSeconds: 300, netmask: '255.255.255.255' }
const CONNECTION: Connection = {
  ...{ protocol: 'tcp', clientAddress: '198.51.100.1', clientPort: 5000, template: false, expiresSeconds: 9 },
  ...{ virtualAddress: '192.0.2.10', virtualPort: 80, serverAddress: '10.0.0.99', serverPort: 80 },
  state: 'ESTABLISHED',
}
const withTable = (more: Partial<TableSeen>, services = [service()]): Partial<Situation> => ({
  services,
  table: {
    services,
    info: { version: '1.2.1', connectionTableSize: 4096 },
    syncDaemons: [],
    connections: [],
    ...more,
  },
})
const MASTER: SyncDaemon = {
  ...{ state: 'master', multicastInterface: 'eth0', syncId: 5, maxLengthBytes: 1472 },
  ...{ multicastGroup: '224.0.0.81', multicastPort: 8848, multicastTtl: 2 },
}
const beside = (peer: readonly SyncDaemon[]): Partial<Situation> => ({
  ...withTable({ syncDaemons: [MASTER] }),
  told: { method: 'direct', peer: { syncDaemons: peer } },
})

const OF_TABLES: readonly Case[] = [
  seen('a service has no real server', noServers, {
    services: [service('tcp/192.0.2.10:80', { servers: [] })],
  }),
  seen('the only real server has weight 0', allQuiescent, {
    services: [service('tcp/192.0.2.10:80', { servers: [QUIET] })],
  }),
  seen('all real servers have weight 0', allQuiescent, {
    services: [service('tcp/192.0.2.10:80', { servers: [QUIET, { ...QUIET, address: '10.0.0.13' }] })],
  }),
  seen('persistence with one real server', persistenceOfOne, {
    services: [service('tcp/192.0.2.10:80', { persistence })],
  }),
  seen('persistence beside that of all ports, with the same real server', persistenceOverlaps, {
    services: [{ ...WHOLE, persistence }, service('tcp/192.0.2.10:80', { persistence, servers: [BUSY] })],
  }),
  seen('persistence beside that of all ports, with another real server', persistenceOverlaps, {
    services: [
      { ...WHOLE, persistence },
      service('tcp/192.0.2.10:80', { persistence, servers: [server('10.0.0.99:80')] }),
    ],
  }),
  seen('a rule marks packets of another service', shadowed, {
    ...iptables(
      '*mangle',
      ':PREROUTING ACCEPT [0:0]',
      '-A PREROUTING -d 192.0.2.10/32 -p tcp -j MARK --set-xmark 0x7/0xffffffff',
    ),
    services: [service(), service('fwmark/7')],
  }),
  seen('a scheduler is to change under traffic', schedulerChanges, {
    ...withTable({ services: [service('tcp/192.0.2.10:80', { scheduler: 'rr', servers: [BUSY] })] }),
  }),
  seen('FTP without its module', ftpUnaided, {
    host: { ...DIRECTOR, helpers: [] },
    services: [service('tcp/192.0.2.10:21')],
  }),
  seen(
    'the firewall tracks nearly all that it can',
    trackingFull,
    {},
    {
      ...{ 'net.netfilter.nf_conntrack_count': '990', 'net.netfilter.nf_conntrack_max': '1000' },
    },
  ),
  seen(
    'nearly as many connections as there may be',
    connectionsNearLimit,
    withTable({}, [service('tcp/192.0.2.10:80', { servers: [BUSY] })]),
    { 'net.ipv4.vs.conn_max': '40000' },
  ),
  seen(
    'many connections in a small table',
    hashSmall,
    withTable({}, [service('tcp/192.0.2.10:80', { servers: [BUSY] })]),
  ),
  seen(
    'a deleted real server has a connection',
    deletedHoldClients,
    withTable({ connections: [CONNECTION] }),
    {
      'net.ipv4.vs.expire_nodest_conn': '0',
    },
  ),
  seen(
    'a quiescent real server has clients',
    quiescentHoldClients,
    { services: [service('tcp/192.0.2.10:80', { persistence, servers: [BUSY, QUIET] })] },
    { 'net.ipv4.vs.expire_quiescent_template': '0' },
  ),
  seen(
    'a quiescent real server has connections',
    reuseHoldsClients,
    { services: [service('tcp/192.0.2.10:80', { servers: [BUSY, QUIET] })] },
    { 'net.ipv4.vs.conn_reuse_mode': '0' },
  ),
  seen('a rule of iptables drops a service', firewallDrops, {
    ...iptables('*filter', ':INPUT ACCEPT [0:0]', '-A INPUT -p tcp -j DROP'),
  }),
  ...NFT_FILTER.map((chain) =>
    seen(`chain ${chain.chain.name} of nft drops everything`, firewallDrops, {
      host: { ...DIRECTOR, firewall: { nft: { nftables: [chain] } } },
    }),
  ),
  seen('a chain of nft drops all ports of an address', firewallDrops, {
    host: {
      ...DIRECTOR,
      firewall: {
        nft: {
          nftables: [
            ...NFT_FILTER.slice(0, 1),
            { rule: { family: 'ip', table: 'filter', chain: 'input', handle: 4, expr: [{ drop: null }] } },
          ],
        },
      },
    },
    services: [WHOLE],
  }),
  seen('a rule is to change source addresses', sourceUnchanged, {
    ...iptables(
      '*nat',
      ':POSTROUTING ACCEPT [0:0]',
      '-A POSTROUTING -m ipvs --vaddr 192.0.2.10 -j SNAT --to-source 10.0.0.1',
    ),
  }),
  seen('a firewall drops packets of the sync daemons', syncInterface, {
    ...withTable({ syncDaemons: [{ ...MASTER, state: 'backup' }] }),
    ...iptables('*filter', ':INPUT ACCEPT [0:0]', '-A INPUT -i eth0 -p udp -j DROP'),
  }),
  ...[link('eth1'), link('eth0', { up: false })].map((one) =>
    seen(`a sync daemon is on eth0, and there is ${one.name}${one.up ? '' : ', down'}`, syncInterface, {
      ...withTable({ syncDaemons: [MASTER] }),
      ...withLinks(one),
    }),
  ),
  seen('the interface of a master sync daemon has lost its address', syncInterface, {
    ...withTable({ syncDaemons: [MASTER] }),
    host: { ...DIRECTOR, addresses: DIRECTOR.addresses.filter(({ link: name }) => name !== 'eth0') },
  }),
  seen('this director is master of more ports than the other one hears', syncMismatch, {
    ...withTable({ syncDaemons: [MASTER] }),
    host: withSysctls(DIRECTOR, { 'net.ipv4.vs.sync_ports': '2' }),
    told: {
      method: 'direct',
      peer: { syncDaemons: [{ ...MASTER, state: 'backup' }], sysctls: { sync_ports: '1' } },
    },
  }),
  seen(
    'the backup of the other director has another channel',
    syncMismatch,
    beside([{ ...MASTER, state: 'backup', syncId: 6, multicastGroup: '224.0.0.82', multicastPort: 8849 }]),
  ),
  seen('the other director has a master too', syncMismatch, beside([MASTER])),
  seen('kube-proxy has a device', besideKubeProxy, withLinks(link('kube-ipvs0'))),
  seen(
    'kube-proxy has rules',
    besideKubeProxy,
    iptables('*nat', ':PREROUTING ACCEPT [0:0]', ':KUBE-SERVICES - [0:0]'),
  ),
  seen('Cilium has a device', besideEbpf, withLinks(link('cilium_host'))),
  seen('a program of XDP', besideEbpf, withLinks(link('eth0', { xdp: true }))),
]

const OF_A_SERVER = 'doctor --role real-server --service tcp/192.0.2.10:80'

export const doctorRooms: readonly Room[] = [
  {
    title: 'Findings of the doctor',
    about:
      'Below what is wrong with a machine: what is seen, how it looks to a client, and the commands that mend it.',
    cases: [
      ...[{ noFamily: true }, { code: 'EPERM' }].map((error) => ({
        input: JSON.stringify(error),
        message: () =>
          Promise.resolve(
            [notAvailable(error)]
              .flatMap((one) => one ?? [])
              .map(said)
              .join('\n'),
          ),
      })),
      ...DOCTOR_CASES.filter(({ finds }) => finds.length > 0).map(({ input, look, situation }) =>
        findingsOf(input, look, situation),
      ),
      ...OF_TABLES,
    ],
  },
  {
    title: 'Explanations of findings',
    about: 'A sentence for each kind of finding.',
    cases: Object.entries(EXPLANATIONS).map(([code, { sentence }]) => ({
      input: code,
      message: () => Promise.resolve(sentence),
    })),
  },
  {
    title: 'Machines that the doctor cannot read',
    about: 'What could not be read, and why.',
    cases: [
      unreadOn({ programs: { ip: 'echo hello' } }, 'ip prints something else'),
      unreadOn({ programs: { ip: 'exit 3' } }, 'ip fails'),
      unreadOn({ programs: { grep: '' } }, 'there are no sysctls'),
      unreadOn({ programs: { nft: 'exec sleep 1000' } }, 'nft hangs', { limitMs: 1000 }),
    ],
  },
  {
    title: 'The doctor in a shell',
    about: 'On a real server.',
    cases: [
      on({}, command(OF_A_SERVER), 'all is well'),
      on({ sysctls: LOUD }, command(OF_A_SERVER), 'it answers ARP'),
      on({}, command(`${OF_A_SERVER} --fix`), 'all is well'),
      on({ sysctls: LOUD }, command(`${OF_A_SERVER} --fix`), 'it answers ARP'),
      on(
        { sysctls: LOUD },
        command(`${OF_A_SERVER} --fix`, { stdin: 'no\n', columns: 100 }),
        'it answers ARP',
      ),
      on(
        { sysctls: LOUD, programs: { env: 'echo "sh: read-only file system" >&2; exit 1' } },
        command(`${OF_A_SERVER} --fix --yes`),
        '/proc/sys is read-only',
      ),
      on(
        { sysctls: LOUD, programs: { env: 'echo 1' } },
        command(`${OF_A_SERVER} --fix --yes`),
        'it answers ARP, whatever is set',
      ),
      on(
        { sysctls: LOUD, programs: { env: 'echo 0' } },
        command(`${OF_A_SERVER} --fix --yes`),
        'the kernel keeps 0',
      ),
    ],
  },
  {
    title: 'Misuse of the doctor',
    about: 'Options of `diagnose()`, and of the command.',
    cases: [
      js(`await diagnose({ role: 'router' })`),
      js(`await diagnose({ services: ['web'] })`),
      js(`await diagnose({ role: 'real-server', services: ['tcp/192.0.2.10:80'], director: 'web' })`),
      js(`await diagnose({ rule: 'director' })`),
      js(`await diagnose({ role: 'real-server' })`),
      js(`await diagnose({ role: 'real-server', services: ['tcp/192.0.2.10:80'], method: 'local' })`),
      js(`await diagnose({ role: 'real-server', services: ['tcp/192.0.2.10:80'], tunnel: { type: 'gue' } })`),
      js(`await diagnose({ role: 'real-server', services: ['tcp/192.0.2.10:80'], state: {} })`),
      js(`await diagnose({ method: 'direct' })`),
      js(`await diagnose({ services: ['tcp/192.0.2.10:80'], state: { services: [] }, transport: kernel })`),
      js(`await diagnose({ services: ['tcp/192.0.2.77:80'], transport: kernel })`),
      command('doctor --memory table.json'),
      command('doctor', { env: { IPVS_MEMORY: 'table.json' } }),
      command('doctor --role real-server'),
      command(`${OF_A_SERVER} --peer other.json`, { files: { 'other.json': '{"services": []}\n' } }),
      command(`${OF_A_SERVER} web.json`, { files: { 'web.json': '{"services": []}\n' } }),
      command('doctor --director 10.0.0.1'),
      command(`${OF_A_SERVER} --tunnel gre`),
      command(`${OF_A_SERVER} --method local`),
    ],
  },
]
