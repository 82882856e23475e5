import { describe, expect, test } from 'vitest'
import { formatState, parseState, type State, type StateLoss, StateSyntaxError } from '../../lib/text.ts'

/** Lines of ipvsadm: what they mean, what is refused and where, and how a state is written. */

async function refusal(text: string, options = {}): Promise<StateSyntaxError> {
  const error: unknown = await parseState(text, { format: 'ipvsadm', ...options }).catch(
    (one: unknown) => one,
  )
  expect(error).toBeInstanceOf(StateSyntaxError)
  return error as StateSyntaxError
}

/** The one service that lines make, after a service to which they may add. */
async function read(text: string): Promise<State> {
  return parseState(text, { format: 'ipvsadm' })
}

/** What the real `ipvsadm -Sn` prints, one by one (1.31). */
const SAVED = `-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 192.168.1.2:80 -g -w 0
-a -t 10.0.0.1:80 -r 192.168.1.3:80 -i -w 65535 --tun-type ipip
-a -t 10.0.0.1:80 -r 192.168.1.4:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 10.0.0.1:80 -r 192.168.1.5:80 -i -w 1 --tun-type gue --tun-port 65535 --tun-remcsum
-a -t 10.0.0.1:80 -r 192.168.1.6:80 -i -w 1 --tun-type gre --tun-csum
-a -t 10.0.0.1:80 -r 192.168.1.7:80 -i -w 1 --tun-type gre --tun-nocsum
-a -t 10.0.0.1:80 -r 192.168.100.101:65535 -m -w 2147483647
-a -t 10.0.0.1:80 -r [2001:db8::7]:80 -i -w 1 --tun-type ipip
-A -t 10.0.0.7:0 -s wlc -p 500
-A -t 10.0.0.50:443 -s sh -p 600 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 10.0.0.50:443 -r 10.0.0.60:443 -m -w 1
-A -u 10.0.0.1:80 -s mh -p 50 --pe sip -o -b mh-fallback,mh-port
-A -u 10.0.0.50:5060 -s none --pe sip
-A --sctp-service 10.0.0.1:5672 -s rr -b flag-1,flag-3
-A -t [2001:db8::1]:80 -s rr -p 10
-a -t [2001:db8::1]:80 -r 10.1.0.1:80 -i -w 1 --tun-type ipip
-a -t [2001:db8::1]:80 -r [2001:db8::a]:8080 -m -w 3
-A -t [2001:db8:1111:2222:3333:4444:5555:6666]:65535 -s rr -p 10 -M 64
-A -f 1 -s rr
-a -f 1 -r 10.1.0.1:8080 -g -w 1
-A -f 123456789 -6 -s rr -p 99
`

const SAVED_STATE: State = {
  version: 1,
  services: [
    {
      protocol: 'tcp',
      address: '10.0.0.1',
      port: 80,
      scheduler: 'rr',
      realServers: [
        { address: '192.168.1.2', port: 80, method: 'direct', weight: 0 },
        { address: '192.168.1.3', port: 80, method: 'tunnel', weight: 65535, tunnel: { type: 'ipip' } },
        {
          address: '192.168.1.4',
          port: 80,
          method: 'tunnel',
          weight: 1,
          tunnel: { type: 'gue', port: 6080 },
        },
        {
          address: '192.168.1.5',
          port: 80,
          method: 'tunnel',
          weight: 1,
          tunnel: { type: 'gue', port: 65535, checksum: 'remcsum' },
        },
        {
          address: '192.168.1.6',
          port: 80,
          method: 'tunnel',
          weight: 1,
          tunnel: { type: 'gre', checksum: 'csum' },
        },
        { address: '192.168.1.7', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'gre' } },
        { address: '192.168.100.101', port: 65535, method: 'masquerade', weight: 2147483647 },
        { address: '2001:db8::7', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'ipip' } },
      ],
    },
    {
      protocol: 'tcp',
      address: '10.0.0.7',
      port: 0,
      scheduler: 'wlc',
      persistence: { timeoutSeconds: 500, netmask: '255.255.255.255' },
    },
    {
      protocol: 'tcp',
      address: '10.0.0.50',
      port: 443,
      scheduler: 'sh',
      schedulerFlags: ['sh-fallback', 'sh-port'],
      persistence: { timeoutSeconds: 600, netmask: '255.255.255.0' },
      realServers: [{ address: '10.0.0.60', port: 443, method: 'masquerade', weight: 1 }],
    },
    {
      protocol: 'udp',
      address: '10.0.0.1',
      port: 80,
      scheduler: 'mh',
      schedulerFlags: ['mh-fallback', 'mh-port'],
      onePacket: true,
      persistence: { timeoutSeconds: 50, netmask: '255.255.255.255' },
      persistenceEngine: 'sip',
    },
    { protocol: 'udp', address: '10.0.0.50', port: 5060, scheduler: 'none', persistenceEngine: 'sip' },
    {
      protocol: 'sctp',
      address: '10.0.0.1',
      port: 5672,
      scheduler: 'rr',
      schedulerFlags: ['flag-1', 'flag-3'],
    },
    {
      protocol: 'tcp',
      address: '2001:db8::1',
      port: 80,
      scheduler: 'rr',
      persistence: { timeoutSeconds: 10, netmask: 128 },
      realServers: [
        { address: '10.1.0.1', port: 80, method: 'tunnel', weight: 1, tunnel: { type: 'ipip' } },
        { address: '2001:db8::a', port: 8080, method: 'masquerade', weight: 3 },
      ],
    },
    {
      protocol: 'tcp',
      address: '2001:db8:1111:2222:3333:4444:5555:6666',
      port: 65535,
      scheduler: 'rr',
      persistence: { timeoutSeconds: 10, netmask: 64 },
    },
    {
      protocol: 'fwmark',
      fwmark: 1,
      family: 'ipv4',
      scheduler: 'rr',
      realServers: [{ address: '10.1.0.1', port: 8080, method: 'direct', weight: 1 }],
    },
    {
      protocol: 'fwmark',
      fwmark: 123456789,
      family: 'ipv6',
      scheduler: 'rr',
      persistence: { timeoutSeconds: 99, netmask: 128 },
    },
  ],
}

describe('what ipvsadm -Sn prints', () => {
  test('is read', async () => {
    expect(await parseState(SAVED)).toEqual(SAVED_STATE)
  })

  test('is written, byte for byte', async () => {
    expect(await formatState(SAVED_STATE, { format: 'ipvsadm' })).toBe(SAVED)
  })

  test('keeps its order', async () => {
    const reversed: State = { version: 1, services: [...(SAVED_STATE.services ?? [])].reverse() }
    expect(await parseState(await formatState(reversed, { format: 'ipvsadm' }))).toEqual(reversed)
  })
})

describe('a line', () => {
  const web = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const
  const server = { address: '10.1.0.1', port: 80, method: 'direct', weight: 1 } as const
  const persistent = { ...web, persistence: { timeoutSeconds: 360, netmask: '255.255.255.255' } }

  test.each<[string, string, object]>([
    ['has the defaults of ipvsadm', '-A -t 10.0.0.1:80', web],
    ['may begin with the program', 'ipvsadm -A -t 10.0.0.1:80', web],
    ['may begin with a path to it', '\t/usr/sbin/ipvsadm  -A -t\t10.0.0.1:80  ', web],
    ['may end in CR', '-A -t 10.0.0.1:80\r', web],
    ['may end in a comment', '-A -t 10.0.0.1:80 # -s rr', web],
    ['takes what is in quotes as it is', `-A -t "10.0.0.1:80" -s 'r'"r"`, { ...web, scheduler: 'rr' }],
    ['takes # inside a word', '-A -t 10.0.0.1:80 -s r#r', { ...web, scheduler: 'r#r' }],
    [
      'takes long options',
      '--add-service --tcp-service 10.0.0.1:80 --scheduler rr',
      { ...web, scheduler: 'rr' },
    ],
    [
      'takes long options with =',
      '--add-service --tcp-service=10.0.0.1:80 --scheduler=rr',
      { ...web, scheduler: 'rr' },
    ],
    ['takes options together', '-At10.0.0.1:80 -srr', { ...web, scheduler: 'rr' }],
    ['drops one = after a letter', '-At=10.0.0.1:80 -s=rr', { ...web, scheduler: 'rr' }],
    ['takes options in any order', '-A -s rr -t 10.0.0.1:80', { ...web, scheduler: 'rr' }],
    ['takes an empty scheduler for the default', `-A -t 10.0.0.1:80 -s ''`, web],
    ['without seconds after -p means 360', '-A -t 10.0.0.1:80 -p', persistent],
    ['without seconds before an option too', '-A -p -t 10.0.0.1:80', persistent],
    ['takes seconds that follow at once', '-A -t 10.0.0.1:80 -p360', persistent],
    ['takes seconds that follow =', '-A -t 10.0.0.1:80 --persistent=360', persistent],
    ['ignores a mask without persistence', '-A -t 10.0.0.1:80 -M 255.0.0.0', web],
    [
      'takes flags in any order, with nothing between',
      '-A -t 10.0.0.1:80 -b flag-2,,flag-1',
      {
        ...web,
        schedulerFlags: ['flag-2', 'flag-1'],
      },
    ],
    ['with -b and nothing has no flags', '-A -t 10.0.0.1:80 -s sh -b ', { ...web, scheduler: 'sh' }],
    ['takes --sort, which means nothing', '-A --sort -t 10.0.0.1:80 --sort', web],
    ['takes a service without port', '-A -t 10.0.0.1 -p', { ...persistent, port: 0 }],
    [
      'takes IPv6 without brackets, which has no port',
      '-A -t 2001:DB8:0::1 -p 9',
      {
        ...web,
        address: '2001:db8::1',
        port: 0,
        persistence: { timeoutSeconds: 9, netmask: 128 },
      },
    ],
    [
      'takes the numbers that ipvsadm takes',
      '-A -t 10.0.0.1:+080 -p 010',
      {
        ...web,
        persistence: { timeoutSeconds: 10, netmask: '255.255.255.255' },
      },
    ],
    [
      'takes what ipvsadm prints and does not take: no time of persistence',
      '-A -t 10.0.0.1:80 -p 0',
      { ...web, persistence: { timeoutSeconds: 0, netmask: '255.255.255.255' } },
    ],
    [
      'takes what ipvsadm prints and does not take: more than 31 days of it',
      '-A -t 10.0.0.1:80 -p 4294967',
      { ...web, persistence: { timeoutSeconds: 4294967, netmask: '255.255.255.255' } },
    ],
    [
      'takes what ipvsadm prints and does not take: one packet of TCP',
      '-A -t 10.0.0.1:80 -o',
      { ...web, onePacket: true },
    ],
    [
      'takes a mark',
      '-A -f 4294967295',
      { protocol: 'fwmark', fwmark: 4294967295, family: 'ipv4', scheduler: 'wlc' },
    ],
    [
      'takes a mark as ipvsadm prints it',
      '-A -f -1 -6',
      {
        protocol: 'fwmark',
        fwmark: 4294967295,
        family: 'ipv6',
        scheduler: 'wlc',
      },
    ],
    [
      'takes the smallest such mark',
      '-A -f -2147483648',
      {
        protocol: 'fwmark',
        fwmark: 2147483648,
        family: 'ipv4',
        scheduler: 'wlc',
      },
    ],
  ])('of a service %s', async (_, line, service) => {
    expect((await read(line)).services).toEqual([service])
  })

  test.each<[string, string, object]>([
    ['has the defaults of ipvsadm', '-a -t 10.0.0.1:80 -r 10.1.0.1', server],
    [
      'gets the port of the service unless it is masqueraded',
      '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -g',
      server,
    ],
    [
      'keeps its port if it is',
      '-a -t 10.0.0.1:80 -r 10.1.0.1:8080 -m',
      {
        ...server,
        port: 8080,
        method: 'masquerade',
      },
    ],
    [
      'has thresholds',
      '-a -t 10.0.0.1:80 -r 10.1.0.1 -x 100 -y 50',
      {
        ...server,
        upperThreshold: 100,
        lowerThreshold: 50,
      },
    ],
    [
      'takes options together',
      '-mat 10.0.0.1:80 -r10.1.0.1 -w7',
      { ...server, method: 'masquerade', weight: 7 },
    ],
  ])('of a server %s', async (_, line, expected) => {
    // A command comes first: only -mat does not begin with it.
    const text = `-A -t 10.0.0.1:80\n${line.replace('-mat', '-amt')}`
    expect((await read(text)).services).toEqual([{ ...web, realServers: [expected] }])
  })

  test('of a server of a mark keeps its port whatever the method, and has 0 by default', async () => {
    const { services } = await read('-A -f 1\n-a -f 1 -r 10.1.0.1\n-a -f 1 -r 10.1.0.1:80 -i')
    expect(services?.[0]?.realServers?.map(({ port }) => port)).toEqual([0, 80])
  })

  test('may be empty or a comment, and -C before the first service changes nothing', async () => {
    expect(
      (await read('# a table\n\n  # ours\n-C\nipvsadm --clear\n-A -t 10.0.0.1:80\n\n')).services,
    ).toEqual([web])
  })

  test('finds its service however that is written', async () => {
    const { services } = await read(
      '-A -t [2001:DB8:0:0::1]:080\n-A -u 10.0.0.1:53\n-a -t [2001:db8::1]:80 -r 2001:db8::2',
    )
    expect(services?.[0]?.realServers).toHaveLength(1)
  })

  test('sets timeouts, of which 0 keeps what there is', async () => {
    expect((await read('--set 900 120 300')).timeouts).toEqual({
      tcpSeconds: 900,
      tcpFinSeconds: 120,
      udpSeconds: 300,
    })
    expect((await read('--set 0 120 0')).timeouts).toEqual({ tcpFinSeconds: 120 })
    expect((await read('1 --set 2 3')).timeouts).toEqual({ tcpSeconds: 1, tcpFinSeconds: 2, udpSeconds: 3 })
  })

  test('starts sync daemons', async () => {
    const { syncDaemons } = await read(`--start-daemon master
--start-daemon=backup --mcast-interface eth1 --syncid 5 --sync-maxlen 1400 --mcast-group ff05::51 --mcast-port 9 --mcast-ttl 7`)
    expect(syncDaemons).toEqual([
      { state: 'master', multicastInterface: 'eth0', syncId: 0 },
      {
        state: 'backup',
        multicastInterface: 'eth1',
        syncId: 5,
        maxLengthBytes: 1400,
        multicastGroup: 'ff05::51',
        multicastPort: 9,
        multicastTtl: 7,
      },
    ])
  })

  test('without any says nothing of timeouts and sync daemons', async () => {
    expect(Object.keys(await read('-A -t 10.0.0.1:80'))).toEqual(['version', 'services'])
  })

  test('may have no newline at the end, and a byte-order mark at the beginning', async () => {
    expect((await parseState('\uFEFF-A -t 10.0.0.1:80')).services).toEqual([web])
  })
})

describe('names', () => {
  const options = {
    lookupService: (name: string, protocol: string) =>
      new Map([
        ['http tcp', 80],
        ['domain udp', 53],
        ['wrong tcp', 65536],
        ['9pfs tcp', 564],
      ]).get(`${name} ${protocol}`),
    lookupHost: (name: string, family: string) =>
      Promise.resolve(
        new Map([
          ['web ipv4', '10.0.0.1'],
          ['web ipv6', '2001:db8::9'],
          ['web-2.example ipv4', '10.0.0.2'],
          ['six ipv6', '2001:DB8::1'],
          ['odd ipv4', 'no'],
        ]).get(`${name} ${family}`),
      ),
  }

  test('of services and hosts are looked up', async () => {
    const lines =
      '-A -t web:http -s rr\n-a -t 10.0.0.1:80 -r web-2.example:http -m\n-A -u [six]:domain -s rr\n'
    expect(await formatState(await parseState(lines, options), { format: 'ipvsadm' })).toBe(
      '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1\n-A -u [2001:db8::1]:53 -s rr\n',
    )
  })

  test('of services may begin with a digit, and of hosts in brackets are those of IPv6', async () => {
    const lines = '-A -t web:9pfs -s rr\n-A -t [web]:9pfs -s rr\n-a -t [web]:9pfs -r [six]:http -m\n'
    expect(await formatState(await parseState(lines, options), { format: 'ipvsadm' })).toBe(
      '-A -t 10.0.0.1:564 -s rr\n-A -t [2001:db8::9]:564 -s rr\n' +
        '-a -t [2001:db8::9]:564 -r [2001:db8::1]:80 -m -w 1\n',
    )
  })

  test.each<[string, string, number, string, object]>([
    ['a service', '-A -t 10.0.0.1:http', 16, "'http' is a service name: give lookupService", {}],
    ['a host', '-A -t web:80', 7, "'web' is a host name: give lookupHost", {}],
    ['an unknown service', '-A -t 10.0.0.1:gopher', 16, "no tcp service 'gopher' was found", options],
    ['a service of another protocol', '-A -u 10.0.0.1:http', 16, "no udp service 'http' was found", options],
    ['an unknown host', '-A -t nowhere:80', 7, "no host 'nowhere' was found", options],
    ['an unknown IPv6 host', '-A -t [nowhere]:80', 7, "no IPv6 host '[nowhere]' was found", options],
    [
      'a host of IPv6 without brackets',
      '-A -t web:80',
      7,
      "lookupHost gave '2001:db8::1' for 'web': a name in brackets means an IPv6 host",
      { lookupHost: () => '2001:db8::1' },
    ],
    [
      'a host of IPv4 in brackets',
      `-A -u [web]:53`,
      7,
      "lookupHost gave '10.0.0.1' for '[web]': a name in brackets means an IPv6 host",
      { lookupHost: () => '10.0.0.1' },
    ],
    ['what begins with a digit', '-A -t 10.0.0.1:80x', 16, "no tcp service '80x' was found", options],
    ['a host that is no address', '-A -t odd:80', 7, "lookupHost gave 'no' for 'odd'", options],
    [
      'a service that is no port',
      '-A -t 10.0.0.1:wrong',
      16,
      "lookupService gave 65536 for 'wrong'",
      options,
    ],
  ])('that are not found are refused: %s', async (_, line, column, reason, lookups) => {
    const error = await refusal(line, lookups)
    expect([error.line, error.column]).toEqual([1, column])
    expect(error.reason).toContain(reason)
  })

  test.each<[string, string, number, string]>([
    ['host', '-A -t 10.0.0.2:80\n-A -t web:80', 7, "lookupHost failed for 'web': no resolver"],
    ['service', '-A -t 10.0.0.2:80\n-A -t 10.0.0.1:http', 16, "lookupService failed for 'http': no resolver"],
  ])('whose look-up throws are named, with what it threw: %s', async (_, text, column, reason) => {
    const cause = new Error('no resolver')
    const broken = (): never => {
      throw cause
    }
    const error = await refusal(text, { lookupHost: broken, lookupService: broken })
    expect(error).toMatchObject({ line: 2, column, reason })
    expect(error.cause).toBe(cause)
  })
})

describe('a refusal', () => {
  const WEB = '-A -t 10.0.0.1:80\n'

  test.each<[string, string, number, number, RegExp]>([
    ['no command', `${WEB}-t 10.0.0.1:80`, 2, 1, /must begin with a command/],
    ['no option', 'hello world', 1, 1, /must begin with a command/],
    ['a comment of another kind', '// hello', 1, 1, /must begin with a command/],
    ['two commands', '-A -a -t 10.0.0.1:80', 1, 4, /one command: -a comes after -A/],
    ['an unknown option', `${WEB}-A -t 10.0.0.2:80 -q`, 2, 20, /no option -q/],
    ['an unknown long option', '-A --tcp 10.0.0.2:80', 1, 4, /no option --tcp/],
    ['a letter among others', '-Az -t 10.0.0.2:80', 1, 3, /no option -z/],
    ['a value that is missing', '-A -t', 1, 4, /-t needs a value/],
    ['a value for what has none', '-A --ops=1 -t 10.0.0.1:80', 1, 4, /--ops takes no value/],
    ['a word too many', '-A -t 10.0.0.1:80 rr', 1, 19, /unexpected argument 'rr'/],
    ['an option twice', '-A -t 10.0.0.1:80 -s rr -s wlc', 1, 25, /-s appears twice/],
    ['two services', '-A -t 10.0.0.1:80 -u 10.0.0.1:53', 1, 19, /one service, not -t and -u/],
    ['two methods', `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -g -m`, 2, 34, /one method, not -g and -m/],
    ['no service', '-A -s rr', 1, 1, /-A needs a virtual service/],
    ['no server', `${WEB}-a -t 10.0.0.1:80`, 2, 1, /-a needs --real-server/],
    ['an option of servers for a service', '-A -t 10.0.0.1:80 -w 1', 1, 19, /-w does not go with -A/],
    ['an option of listings', '-A -t 10.0.0.1:80 --stats', 1, 19, /--stats does not go with -A/],
    ['-6 without a service', '--set 1 2 3 -6', 1, 13, /-6 does not go with --set/],
    [
      'an option of services for a server',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -s rr`,
      2,
      31,
      /-s does not go with -a/,
    ],
    [
      'a server of a service that was not added',
      `${WEB}-a -u 10.0.0.1:80 -r 10.1.0.1`,
      2,
      1,
      /no -A .* udp\/10\.0\.0\.1:80/,
    ],
    ['a mark of the other family', '-A -f 1\n-a -f 1 -6 -r 2001:db8::1', 2, 1, /no -A .* fwmark6\/1/],
    [
      'a service twice',
      `${WEB}-A -t 10.0.0.1:80 -s rr`,
      2,
      1,
      /tcp\/10\.0\.0\.1:80 appears twice: it is already on line 1$/,
    ],
    [
      'a server twice',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -m`,
      3,
      1,
      /10\.1\.0\.1:80 appears twice: it is already on line 2$/,
    ],
    [
      'a daemon twice',
      '--start-daemon master\n--start-daemon master',
      2,
      1,
      /master appears twice: it is already on line 1$/,
    ],
    [
      'a weight',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -w -1`,
      2,
      34,
      /-w takes a whole number 0 to 2147483647, got '-1'/,
    ],
    ['a weight in hex', `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -w 0x10`, 2, 34, /got '0x10'/],
    [
      'thresholds',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -y 5`,
      2,
      34,
      /^-y must not be above -x \(0\), got 5: give -x as well$/,
    ],
    [
      'every port without persistence',
      `${WEB} ipvsadm -A -t 10.0.0.2:0`,
      2,
      16,
      /^port 0 means every port, and works only with persistence: give -p, or another port$/,
    ],
    [
      'an engine with too long a name',
      '-A -t 10.0.0.1:80 --pe averyverylongname',
      1,
      24,
      /^--pe must have 1 to 16 bytes and no NUL, got 'averyverylongname'$/,
    ],
    [
      'an interface with too long a name',
      '--start-daemon master --mcast-interface=averyverylongname',
      1,
      41,
      /^--mcast-interface must have 1 to 15 bytes/,
    ],
    [
      'a direct server of another family',
      `${WEB}-a -t 10.0.0.1:80 -r 2001:db8::1`,
      2,
      22,
      /^the method must be -i for a real server of another family .*, got -g$/,
    ],
    ['port 0 without persistence', '-A -t 10.0.0.1', 1, 7, /port 0 means every port/],
    ['a port', '-A -t 10.0.0.1:65536', 1, 16, /the port of -t takes a whole number 0 to 65535, got '65536'/],
    ['an empty port', '-A -t 10.0.0.1:', 1, 16, /got ''/],
    [
      'a port with more behind it',
      '-A -t 10.0.0.1:80x',
      1,
      16,
      /'80x' is a service name: give lookupService, or write the port/,
    ],
    ['an address', '-A -t 256.0.0.1:80', 1, 7, /takes an address such as/],
    ['an address in short, which ipvsadm completes', '-A -t 10.1:80', 1, 7, /in full/],
    ['an octal address', '-A -t 010.0.0.1:80', 1, 7, /in full/],
    ['a hexadecimal address', '-A -t 0x0a000001:80', 1, 7, /in full/],
    ['a network', '-A -t 10.0.0.0/24', 1, 7, /takes an address such as/],
    ['a zone', '-A -t [fe80::1%lo]:80', 1, 7, /takes an address such as/],
    ['brackets without port', '-A -t [2001:db8::1]', 1, 7, /\[ADDRESS\]:PORT/],
    ['brackets that are open', '-A -t [2001:db8::1', 1, 7, /takes an address such as/],
    ['IPv4 in brackets, whose port ipvsadm drops', '-A -t [10.0.0.1]:80', 1, 7, /drops the port/],
    ['a mark of 0', '-A -f 0', 1, 7, /1 to 4294967295/],
    ['a mark above 2^32', '-A -f 4294967296', 1, 7, /4294967295/],
    ['-6 before -f', '-A -6 -f 1', 1, 4, /-6 must come after -f/],
    ['-6 with an address', '-A -t 10.0.0.1:80 -6', 1, 19, /goes only with a firewall mark/],
    ['a mask that is a length', '-A -t 10.0.0.1:80 -p -M 24', 1, 25, /reads as 0\.0\.0\.24/],
    [
      'a mask before an IPv6 service, which ipvsadm loses',
      '-A -M 64 -t [2001:db8::1]:80 -p',
      1,
      4,
      /-M must come after -t/,
    ],
    [
      'a server before its service, which gets port 0',
      `${WEB}-a -r 10.1.0.1 -t 10.0.0.1:80 -m`,
      2,
      4,
      /must come after the virtual service/,
    ],
    ['persistence beyond the kernel', '-A -t 10.0.0.1:80 -p 4294968', 1, 22, /0 to 4294967/],
    ['an unknown flag', '-A -t 10.0.0.1:80 -b 1', 1, 22, /no scheduler has a flag '1'/],
    [
      'a flag of another scheduler',
      '-A -t 10.0.0.1:80 -s mh -b sh-port',
      1,
      28,
      /not a flag of scheduler 'mh'/,
    ],
    [
      'a scheduler with too long a name',
      '-A -t 10.0.0.1:80 -s averyverylongname',
      1,
      22,
      /^-s must have 1 to 15 bytes and no NUL, got 'averyverylongname'$/,
    ],
    [
      'another family without a tunnel',
      `${WEB}-a -t 10.0.0.1:80 -r 2001:db8::1 -m`,
      2,
      34,
      /^the method must be -i for .*, got -m$/,
    ],
    [
      'a tunnel without -i',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 --tun-type ipip`,
      2,
      31,
      /goes only with method -i/,
    ],
    [
      'a tunnel of no type',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type IPIP`,
      2,
      45,
      /ipip, gue or gre/,
    ],
    ['gue without port', `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gue`, 2, 34, /needs --tun-port/],
    [
      'gre with remcsum',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre --tun-remcsum`,
      2,
      49,
      /not go with tunnel type gre/,
    ],
    [
      'ipip with a port',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-port 5`,
      2,
      34,
      /not go with tunnel type ipip/,
    ],
    [
      'two checksums',
      `${WEB}-a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type gre --tun-csum --tun-nocsum`,
      2,
      60,
      /one tunnel checksum/,
    ],
    ['two timeouts', '--set 1 2', 1, 1, /takes three timeouts/],
    ['four timeouts', '--set 1 2 3 4', 1, 13, /takes three timeouts/],
    ['a timeout', '--set 1 2 2678401', 1, 11, /0 to 2678400/],
    ['a daemon of no state', '--start-daemon both', 1, 16, /'master' or 'backup', got 'both'/],
    ['a daemon with a port of 0', '--start-daemon master --mcast-port 0', 1, 36, /1 to 65535/],
    [
      'a group that is none',
      '--start-daemon master --mcast-group 10.0.0.1',
      1,
      37,
      /^--mcast-group must be a multicast address/,
    ],
    ['-C after a service', `${WEB}-C`, 2, 1, /-C would empty the table/],
    ['-E', '-E -t 10.0.0.1:80', 1, 1, /-E does not describe a table/],
    [
      '--delete-server',
      `${WEB}--delete-server -t 10.0.0.1:80 -r 10.1.0.1`,
      2,
      1,
      /--delete-server does not describe a table/,
    ],
    ['-L', '-L', 1, 1, /-L does not describe a table/],
    ['a quote that is open', `-A -t '10.0.0.1:80`, 1, 7, /this ' is not closed/],
  ])('of %s says where and why', async (_, text, line, column, reason) => {
    const error = await refusal(text)
    expect(error.reason).toMatch(reason)
    expect([error.line, error.column]).toEqual([line, column])
    expect(error.message).toBe(`line ${String(line)}, column ${String(column)}: ${error.reason}`)
    expect(error.format).toBe('ipvsadm')
  })

  test.each<[string, string, string]>([
    ['a service', `${WEB}-A -t 10.0.0.1:80`, 'services[1]'],
    ['a port', `${WEB}-A -t 10.0.0.2:0`, 'services[1].port'],
    ['a scheduler', '-A -f 1 -s averyverylongname', 'services[0].scheduler'],
    ['an engine', '-A -f 1 --pe averyverylongname', 'services[0].persistenceEngine'],
    ['a server', `${WEB}-A -f 1\n-a -f 1 -r 10.1.0.1\n-a -f 1 -r 10.1.0.1`, 'services[1].realServers[1]'],
    ['thresholds', '-A -f 1\n-a -f 1 -r 10.1.0.1 -y 5', 'services[0].realServers[0].lowerThreshold'],
    ['a method', '-A -f 1\n-a -f 1 -r 2001:db8::1', 'services[0].realServers[0].method'],
    ['a daemon', '--start-daemon master\n--start-daemon master', 'syncDaemons[1]'],
    [
      'an interface',
      '--start-daemon backup --mcast-interface averyverylongname',
      'syncDaemons[0].multicastInterface',
    ],
    ['a group', '--start-daemon backup --mcast-group 10.0.0.1', 'syncDaemons[0].multicastGroup'],
  ])('of %s that no state could have says where in the state', async (_, text, path) => {
    expect((await refusal(text)).path).toBe(path)
  })

  test.each<[string, string, RegExp]>([
    [
      'a scheduler',
      '-A -f 1 --scheduler=averyverylongname',
      /^--scheduler must have 1 to 15 bytes and no NUL, got 'averyverylongname'$/,
    ],
    [
      'thresholds',
      '-A -f 1\n-a -f 1 -r 10.1.0.1 --l-threshold 5 --u-threshold 3',
      /^--l-threshold must not be above --u-threshold \(3\), got 5$/,
    ],
    ['a limit of 0', '-A -f 1\n-a -f 1 -r 10.1.0.1 -x 0 -y 5', /^-y must not be above -x \(0\), got 5$/],
    ['a method', '-A -f 1\n-a -f 1 -r 2001:db8::1 --masquerading', /got --masquerading$/],
    ['a group', '--start-daemon master --mcast-group direct', /^--mcast-group must be .*, got 'direct'$/],
    [
      'a name',
      '-A -f 1 -s "direct: it is services[0] already"',
      /got 'direct: it is services\[0\] already'$/,
    ],
  ])('of %s says options and values as they were written', async (_, text, reason) => {
    expect((await refusal(text)).reason).toMatch(reason)
  })

  test.each<[string, string, number]>([
    ['twice, then an unknown option', `${WEB}${WEB}-A -q`, 2],
    ['an unknown option, then twice', `${WEB}-A -q\n${WEB}`, 2],
    ['a group, then a port', `${WEB}--start-daemon master --mcast-group x\n-A -t 10.0.0.2:0`, 2],
  ])('of two lines is that of the first: %s', async (_, text, line) => {
    expect((await refusal(text)).line).toBe(line)
  })

  test('of a bad line 900 says so', async () => {
    const lines = Array.from(
      { length: 1000 },
      (_, index) => `-A -f ${String(index === 899 ? 'x' : index + 1)}`,
    )
    expect(await refusal(lines.join('\n'))).toMatchObject({ line: 900, column: 7 })
  })
})

describe('what ipvsadm -S loses', () => {
  test('is written as ipvsadm -R takes it', async () => {
    const state: State = {
      version: 1,
      services: [
        {
          protocol: 'fwmark',
          fwmark: 4294967295,
          family: 'ipv4',
          scheduler: 'sh',
          schedulerFlags: ['flag-3'],
          realServers: [
            {
              address: '10.1.0.1',
              port: 0,
              method: 'direct',
              weight: 1,
              upperThreshold: 9,
              lowerThreshold: 3,
            },
          ],
        },
      ],
      timeouts: { tcpSeconds: 800, udpSeconds: 30 },
      syncDaemons: [
        { state: 'master', multicastInterface: 'eth1', syncId: 5 },
        {
          state: 'backup',
          multicastInterface: 'eth1',
          syncId: 0,
          maxLengthBytes: 1400,
          multicastGroup: '224.0.0.82',
          multicastPort: 8849,
          multicastTtl: 2,
        },
      ],
    }
    const lines = `-A -f 4294967295 -s sh -b flag-3
-a -f 4294967295 -r 10.1.0.1:0 -g -w 1 -x 9 -y 3
--set 800 0 30
--start-daemon master --mcast-interface eth1 --syncid 5
--start-daemon backup --mcast-interface eth1 --syncid 0 --sync-maxlen 1400 --mcast-group 224.0.0.82 --mcast-port 8849 --mcast-ttl 2
`
    expect(await formatState(state, { format: 'ipvsadm' })).toBe(lines)
    expect(await parseState(lines)).toEqual(state)
  })
})

test('-o is written of UDP by its number too', async () => {
  const state: State = {
    services: [{ protocol: 17, address: '10.0.0.1', port: 53, scheduler: 'rr', onePacket: true }],
  }
  expect(await formatState(state, { format: 'ipvsadm' })).toBe('-A -u 10.0.0.1:53 -s rr -o\n')
})

describe('what lines cannot say', () => {
  const address = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'rr' } as const
  const own = (server: object): State => ({
    services: [{ ...address, realServers: [{ address: '10.1.0.1', port: 80, ...server }] }],
  })
  const A = '-A -t 10.0.0.1:80 -s rr\n'
  const a = '-a -t 10.0.0.1:80 -r 10.1.0.1:80'

  test.each<[string, State, string, string]>([
    ['an IP protocol', { services: [{ ...address, protocol: 50 }] }, 'services[0].protocol', ''],
    [
      'a scheduler of two words',
      { services: [{ ...address, scheduler: 'a b' }] },
      'services[0].scheduler',
      '',
    ],
    [
      'a scheduler that is not UTF-8',
      { services: [{ ...address, scheduler: 'a\udcff' }] },
      'services[0].scheduler',
      '',
    ],
    [
      'one-packet scheduling of TCP',
      { services: [{ ...address, onePacket: true }] },
      'services[0].onePacket',
      A,
    ],
    [
      'persistence of 0 seconds',
      { services: [{ ...address, persistence: { timeoutSeconds: 0 } }] },
      'services[0].persistence.timeoutSeconds',
      '-A -t 10.0.0.1:80 -s rr -p 1\n',
    ],
    [
      'persistence of more than 31 days',
      { services: [{ ...address, persistence: { timeoutSeconds: 2678401 } }] },
      'services[0].persistence.timeoutSeconds',
      '-A -t 10.0.0.1:80 -s rr -p 2678400\n',
    ],
    [
      'an engine of two words',
      { services: [{ ...address, persistenceEngine: 'a b' }] },
      'services[0].persistenceEngine',
      A,
    ],
    ['method local', own({ method: 'local' }), 'services[0].realServers[0].method', `${A}${a} -g -w 1\n`],
    ['method 5', own({ method: 5 }), 'services[0].realServers[0].method', `${A}${a} -g -w 1\n`],
    ['a port of its own', own({ port: 81 }), 'services[0].realServers[0].port', `${A}${a} -g -w 1\n`],
    [
      'two ports of one server',
      {
        services: [
          {
            ...address,
            realServers: [
              { address: '10.1.0.1', port: 80 },
              { address: '10.1.0.1', port: 81, method: 'local' },
            ],
          },
        ],
      },
      'services[0].realServers[1]',
      `${A}${a} -g -w 1\n`,
    ],
    [
      'a port that a server before it has in lines',
      {
        services: [
          {
            ...address,
            realServers: [
              { address: '2001:db8::1', port: 80, method: 'tunnel' },
              { address: '2001:DB8::1', port: 8080, method: 'tunnel', weight: 2 },
            ],
          },
        ],
      },
      'services[0].realServers[1]',
      `${A}-a -t 10.0.0.1:80 -r [2001:db8::1]:80 -i -w 1 --tun-type ipip\n`,
    ],
    [
      'a tunnel that is not used',
      own({ method: 'masquerade', tunnel: { type: 'gre' } }),
      'services[0].realServers[0].tunnel',
      `${A}${a} -m -w 1\n`,
    ],
    [
      'a tunnel without a name',
      own({ method: 'tunnel', tunnel: { type: 9 } }),
      'services[0].realServers[0].tunnel.type',
      `${A}${a} -i -w 1 --tun-type ipip\n`,
    ],
    [
      'a port of a GRE tunnel',
      own({ method: 'tunnel', tunnel: { type: 'gre', port: 5 } }),
      'services[0].realServers[0].tunnel.port',
      `${A}${a} -i -w 1 --tun-type gre --tun-nocsum\n`,
    ],
    [
      'remcsum of a GRE tunnel',
      own({ method: 'tunnel', tunnel: { type: 'gre', checksum: 'remcsum' } }),
      'services[0].realServers[0].tunnel.checksum',
      `${A}${a} -i -w 1 --tun-type gre --tun-nocsum\n`,
    ],
    [
      'a checksum of an IP-in-IP tunnel',
      own({ method: 'tunnel', tunnel: { type: 'ipip', checksum: 'csum' } }),
      'services[0].realServers[0].tunnel.checksum',
      `${A}${a} -i -w 1 --tun-type ipip\n`,
    ],
    [
      'a long timeout',
      { services: [], timeouts: { tcpSeconds: 2678401 } },
      'timeouts.tcpSeconds',
      '--set 2678400 0 0\n',
    ],
    [
      'an interface of two words',
      { services: [], syncDaemons: [{ state: 'master', multicastInterface: 'a b' }] },
      'syncDaemons[0].multicastInterface',
      '',
    ],
    ['a sysctl', { services: [], sysctls: { conntrack: '1' } }, 'sysctls.conntrack', ''],
    ['port 0 without persistence', { services: [{ ...address, port: 0 }] }, 'services[0].port', ''],
    [
      'flags without a name',
      { services: [{ ...address, schedulerFlags: [64, 'flag-2'] }] },
      'services[0].schedulerFlags',
      '-A -t 10.0.0.1:80 -s rr -b flag-2\n',
    ],
    [
      'an upper threshold from 2^31 on',
      own({ upperThreshold: 4294967295, lowerThreshold: 2147483647 }),
      'services[0].realServers[0].upperThreshold',
      `${A}${a} -g -w 1 -x 2147483647 -y 2147483647\n`,
    ],
    [
      'a sync id above 255',
      { services: [], syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 258 }] },
      'syncDaemons[0].syncId',
      '--start-daemon master --mcast-interface eth0 --syncid 2\n',
    ],
  ])('is an error, or heard of: %s', async (_, state, path, nearest) => {
    await expect(formatState(state, { format: 'ipvsadm' })).rejects.toThrow(
      `ipvsadm lines cannot express ${path}: `,
    )
    const losses: StateLoss[] = []
    const text = await formatState(state, {
      format: 'ipvsadm',
      onLoss: (loss) => {
        losses.push(loss)
      },
    })
    expect(losses.map((loss) => loss.path)).toEqual([path])
    expect(text).toBe(nearest)
    // What is written can be read.
    await parseState(text, { format: 'ipvsadm' })
  })

  test.each<[string, State, string]>([
    ['defaults', { services: [{ protocol: 'fwmark', fwmark: 1 }] }, '-A -f 1 -s wlc\n'],
    ['a server that says nothing', own({}), `${A}${a} -g -w 1\n`],
    [
      'a server without port',
      { services: [{ ...address, realServers: [{ address: '10.1.0.1' }] }] },
      `${A}${a} -g -w 1\n`,
    ],
    ['a tunnel that says nothing', own({ method: 'tunnel' }), `${A}${a} -i -w 1 --tun-type ipip\n`],
    ['a plain tunnel that is not used', own({ tunnel: { type: 'ipip' } }), `${A}${a} -g -w 1\n`],
    [
      'numbers that have names',
      own({ method: 'tunnel', tunnel: { type: 1, port: 5, checksum: 1 } }),
      `${A}${a} -i -w 1 --tun-type gue --tun-port 5 --tun-csum\n`,
    ],
    ['a protocol number that has a name', { services: [{ ...address, protocol: 6 }] }, A],
    [
      'persistence that says nothing',
      { services: [{ ...address, persistence: {} }] },
      '-A -t 10.0.0.1:80 -s rr -p 300\n',
    ],
    [
      'a mask that is a length',
      { services: [{ ...address, persistence: { netmask: 24 } }] },
      '-A -t 10.0.0.1:80 -s rr -p 300 -M 255.255.255.0\n',
    ],
    [
      'a mask of everybody',
      { services: [{ ...address, persistence: { netmask: 0 } }] },
      '-A -t 10.0.0.1:80 -s rr -p 300 -M 0.0.0.0\n',
    ],
    [
      'flag 1 of sh',
      { services: [{ ...address, scheduler: 'sh', schedulerFlags: ['flag-1'] }] },
      '-A -t 10.0.0.1:80 -s sh -b sh-fallback\n',
    ],
    [
      'an address in another form',
      { services: [{ ...address, address: '2001:DB8:0::1' }] },
      '-A -t [2001:db8::1]:80 -s rr\n',
    ],
    ['no sysctls', { services: [], sysctls: {} }, ''],
    ['that no sync daemon runs', { services: [], syncDaemons: [] }, ''],
  ])('is not this: %s', async (_, state, text) => {
    expect(await formatState(state, { format: 'ipvsadm' })).toBe(text)
  })
})
