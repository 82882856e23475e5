import { expect, test } from 'vitest'
import type { RealServerSpec, ServiceSpec } from '../../lib/model/types.ts'
import { kernelTests, withNamespace } from '../helpers/kernel.ts'

/** A command line of ipvsadm, what else must have run before it, and what the library then reads. */
interface Case {
  readonly line: string
  readonly before?: string
  readonly service: ServiceSpec
  readonly realServers?: readonly RealServerSpec[]
}

const TCP = { protocol: 'tcp', address: '10.0.0.1', port: 80 } as const
const RR = { ...TCP, scheduler: 'rr' }
const TCP_RR = '-A -t 10.0.0.1:80 -s rr'

const CASES: Readonly<Record<string, Case>> = {
  'the defaults': { line: '-A -t 10.0.0.1:80', service: { ...TCP, scheduler: 'wlc' } },
  UDP: { line: '-A -u 10.0.0.1:53 -s rr', service: { ...RR, protocol: 'udp', port: 53 } },
  SCTP: { line: '-A --sctp-service 10.0.0.1:132 -s rr', service: { ...RR, protocol: 'sctp', port: 132 } },
  IPv6: {
    line: '-A -t [2001:DB8:0:0:1::1]:443 -s rr',
    service: { ...RR, address: '2001:db8::1:0:0:1', port: 443 },
  },
  'a firewall mark': {
    line: '-A -f 7 -s rr',
    service: { protocol: 'fwmark', fwmark: 7, family: 'ipv4', scheduler: 'rr' },
  },
  'a firewall mark of IPv6': {
    line: '-A -f 7 -6 -s rr',
    service: { protocol: 'fwmark', fwmark: 7, family: 'ipv6', scheduler: 'rr' },
  },
  'the largest firewall mark': {
    line: '-A -f 4294967295 -s rr',
    service: { protocol: 'fwmark', fwmark: 4294967295, family: 'ipv4', scheduler: 'rr' },
  },
  'persistence as it is by default': {
    line: `${TCP_RR} -p`,
    service: { ...RR, persistence: { timeoutSeconds: 360, netmask: '255.255.255.255' } },
  },
  'persistence with a timeout and a mask': {
    line: `${TCP_RR} -p 600 -M 255.255.240.0`,
    service: { ...RR, persistence: { timeoutSeconds: 600, netmask: '255.255.240.0' } },
  },
  'persistence of IPv6 with a prefix': {
    line: '-A -t [2001:db8::1]:80 -s rr -p 10 -M 64',
    service: { ...RR, address: '2001:db8::1', persistence: { timeoutSeconds: 10, netmask: 64 } },
  },
  'persistence of IPv6 as it is by default': {
    line: '-A -t [2001:db8::1]:80 -s rr -p 10',
    service: { ...RR, address: '2001:db8::1', persistence: { timeoutSeconds: 10, netmask: 128 } },
  },
  'every port': {
    line: '-A -t 10.0.0.1:0 -s rr -p 10',
    service: { ...RR, port: 0, persistence: { timeoutSeconds: 10, netmask: '255.255.255.255' } },
  },
  'a mask without persistence, which shows nowhere': { line: `${TCP_RR} -M 255.0.0.0`, service: RR },
  'a persistence engine': {
    line: '-A -u 10.0.0.1:5060 -s rr -p 60 --pe sip',
    service: {
      ...RR,
      protocol: 'udp',
      port: 5060,
      persistence: { timeoutSeconds: 60, netmask: '255.255.255.255' },
      persistenceEngine: 'sip',
    },
  },
  'a persistence engine without persistence': {
    line: `${TCP_RR} --pe sip`,
    service: { ...RR, persistenceEngine: 'sip' },
  },
  'one-packet scheduling': {
    line: '-A -u 10.0.0.1:53 -s rr -o',
    service: { ...RR, protocol: 'udp', port: 53, onePacket: true },
  },
  'scheduler flags by number': {
    line: `${TCP_RR} -b flag-1,flag-3`,
    service: { ...RR, schedulerFlags: ['flag-1', 'flag-3'] },
  },
  'flags of sh': {
    line: '-A -t 10.0.0.1:80 -s sh -b sh-port,sh-fallback',
    service: { ...TCP, scheduler: 'sh', schedulerFlags: ['sh-fallback', 'sh-port'] },
  },
  'flags of mh, by number': {
    line: '-A -t 10.0.0.1:80 -s mh -b flag-2,flag-3',
    service: { ...TCP, scheduler: 'mh', schedulerFlags: ['mh-port', 'flag-3'] },
  },
  'no scheduler': { line: '-A -t 10.0.0.1:80 -s none', service: { ...TCP, scheduler: 'none' } },
  'an edit, which puts the defaults back': {
    before: '-A -t 10.0.0.1:80 -s sh -p 60 -b sh-port --pe sip',
    line: '-E -t 10.0.0.1:80',
    service: { ...TCP, scheduler: 'wlc' },
  },
  'a real server with the defaults': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 80, method: 'direct', weight: 1 }],
  },
  'direct routing, which has the port of its service': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -g -w 3',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 80, method: 'direct', weight: 3 }],
  },
  masquerading: {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 65535',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 8080, method: 'masquerade', weight: 65535 }],
  },
  'weight 0': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -m -w 0',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 80, method: 'masquerade', weight: 0 }],
  },
  thresholds: {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -m -x 2147483647 -y 1000',
    service: RR,
    realServers: [
      {
        address: '10.1.0.1',
        port: 80,
        method: 'masquerade',
        weight: 1,
        upperThreshold: 2147483647,
        lowerThreshold: 1000,
      },
    ],
  },
  'a tunnel': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -i',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'ipip' } }],
  },
  'a GUE tunnel': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue --tun-port 6080 --tun-nocsum',
    service: RR,
    realServers: [
      { address: '10.1.0.1', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'gue', port: 6080 } },
    ],
  },
  'a GUE tunnel with checksum': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue --tun-port 6080 --tun-csum',
    service: RR,
    realServers: [
      {
        address: '10.1.0.1',
        port: 80,
        method: 'tunnel',
        weight: 1,
        tunnel: { type: 'gue', port: 6080, checksum: 'csum' },
      },
    ],
  },
  'a GUE tunnel with remote checksum offload': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue --tun-port 65535 --tun-remcsum',
    service: RR,
    realServers: [
      {
        address: '10.1.0.1',
        port: 80,
        method: 'tunnel',
        weight: 1,
        tunnel: { type: 'gue', port: 65535, checksum: 'remcsum' },
      },
    ],
  },
  'a GRE tunnel with checksum': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre --tun-csum',
    service: RR,
    realServers: [
      {
        address: '10.1.0.1',
        port: 80,
        method: 'tunnel',
        weight: 1,
        tunnel: { type: 'gre', checksum: 'csum' },
      },
    ],
  },
  'a tunnel from IPv4 to IPv6': {
    before: TCP_RR,
    line: '-a -t 10.0.0.1:80 -r 2001:db8::7 -i',
    service: RR,
    realServers: [
      { address: '2001:db8::7', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'ipip' } },
    ],
  },
  'a real server of IPv6': {
    before: '-A -t [2001:db8::1]:80 -s rr',
    line: '-a -t [2001:db8::1]:80 -r [2001:db8::7]:8080 -m',
    service: { ...RR, address: '2001:db8::1' },
    realServers: [{ address: '2001:db8::7', port: 8080, method: 'masquerade', weight: 1 }],
  },
  'real servers of a firewall mark, which keep their ports': {
    before: '-A -f 7 -s rr',
    line: '-a -f 7 -r 10.1.0.1:8080 -g',
    service: { protocol: 'fwmark', fwmark: 7, family: 'ipv4', scheduler: 'rr' },
    realServers: [{ address: '10.1.0.1', port: 8080, method: 'direct', weight: 1 }],
  },
  'an edited real server, whose defaults are back': {
    before: `${TCP_RR}\n-a -t 10.0.0.1:80 -r 10.1.0.1 -i -w 9 -x 5 -y 4 --tun-type gue --tun-port 6080`,
    line: '-e -t 10.0.0.1:80 -r 10.1.0.1',
    service: RR,
    realServers: [{ address: '10.1.0.1', port: 80, method: 'direct', weight: 1 }],
  },
  'a real server deleted': {
    before: `${TCP_RR}\n-a -t 10.0.0.1:80 -r 10.1.0.1\n-a -t 10.0.0.1:80 -r 10.1.0.2`,
    line: '-d -t 10.0.0.1:80 -r 10.1.0.1',
    service: RR,
    realServers: [{ address: '10.1.0.2', port: 80, method: 'direct', weight: 1 }],
  },
}

kernelTests('what ipvsadm wrote', () => {
  test('reads as what it says, for every option', () =>
    // One namespace for all: a flush between the cases, and few real servers.
    withNamespace(async (netns) => {
      for (const [name, { before = '', line, service, realServers = [] }] of Object.entries(CASES)) {
        await netns.ipvs.flush()
        const argv = ['ipvsadm', ...line.split(' ')]
        // One process of ours, for starting one is what takes the time in a guest.
        await netns.run(
          before === '' ? argv : ['sh', '-ec', 'ipvsadm -R; "$@"', 'sh', ...argv],
          `${before}\n`,
        )
        const table = JSON.parse(JSON.stringify(await netns.ipvs.snapshot())) as unknown
        expect(table, `${name}: ipvsadm ${line}`).toEqual([{ service, realServers }])
      }
    }))

  test('sees timeouts that ipvsadm set, and sets those that ipvsadm prints', () =>
    withNamespace(async (netns) => {
      await netns.ipvsadm(['--set 1000 0 30'])
      expect(await netns.ipvs.timeouts()).toEqual({ tcpSeconds: 1000, tcpFinSeconds: 120, udpSeconds: 30 })
      await netns.ipvs.setTimeouts({ tcpFinSeconds: 77 })
      expect(await netns.run(['ipvsadm', '-L', '--timeout'])).toContain('1000 77 30')
    }))

  test('agrees with what ipvsadm lists after edits by the library', () =>
    withNamespace(async (netns) => {
      const web = await netns.ipvs.addService({ ...TCP, scheduler: 'rr' })
      await web.addRealServer({ address: '10.1.0.1', port: 8080, method: 'masquerade' })
      await web.edit({ scheduler: 'sh', schedulerFlags: ['sh-port'], persistence: { timeoutSeconds: 50 } })
      await netns.ipvs.editRealServer(TCP, { address: '10.1.0.1', port: 8080 }, { weight: 12 })
      expect(await netns.run(['ipvsadm', '-Sn'])).toBe(
        '-A -t 10.0.0.1:80 -s sh -p 50 -b sh-port\n-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 12\n',
      )
    }))
})
