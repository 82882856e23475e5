import { formatState, parseState, type ParseStateOptions, type State } from '../../lib/text.ts'
import { type Case, js, type Room } from './room.ts'

/** A text of a state: what is wrong with it. */
function text(input: string, options: ParseStateOptions = {}): Case {
  const format = options.format === undefined ? '' : `, { format: '${options.format}' }`
  const shown = format === '' && input !== '' ? input : `parseState(${JSON.stringify(input)}${format})`
  return { input: shown, message: () => refused(() => parseState(input, options)) }
}

/** A state that lines of ipvsadm do not hold: what is left out. */
function lossy(state: State): Case {
  return {
    input: JSON.stringify(state),
    message: async () => {
      const losses: string[] = []
      const onLoss = ({ path, reason }: { path: string; reason: string }): void => {
        losses.push(`${path}: ${reason}`)
      }
      await formatState(state, { format: 'ipvsadm', onLoss })
      if (losses.length === 0) throw new Error('nothing is left out')
      return losses.join('\n')
    },
  }
}

async function refused(work: () => Promise<unknown>): Promise<string> {
  try {
    await work()
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`
  }
  throw new Error('nothing is refused')
}

function at(input: string, work: () => Promise<unknown>): Case {
  return { input, message: () => refused(work) }
}

/** A text that is too long for the page. */
function large(expression: string, input: string, options: ParseStateOptions = {}): Case {
  return at(`parseState(${expression})`, () => parseState(input, options))
}

const any: Room = {
  title: 'Texts of states',
  about: 'Options, and texts that are in none of the three formats.',
  cases: [
    at(`parseState(5)`, () => parseState(5 as unknown as string)),
    at(`parseState('{}', { format: 'toml' })`, () => parseState('{}', { format: 'toml' as 'json' })),
    at(`parseState('{}', { fromat: 'json' })`, () => parseState('{}', { fromat: 'json' } as object)),
    at(`parseState('{}', { lookupHost: 5 })`, () => parseState('{}', { lookupHost: 5 } as object)),
    js(`await formatState({ services: [] }, { format: 'yaml', schema: '/usr/lib/ipvs/state.schema.json' })`),
    at(`formatState({ services: [] }, { format: 'yaml', schema: 'my state.schema.json' })`, () =>
      formatState({ services: [] }, { format: 'yaml', schema: 'my state.schema.json' }),
    ),
    at(`formatState({ services: [] }, { format: 'toml' })`, () =>
      formatState({ services: [] }, { format: 'toml' as 'json' }),
    ),
    at(`formatState({ services: [{ ...WEB, protocol: 50 }] }, { format: 'ipvsadm' })`, () =>
      formatState({ services: [{ protocol: 50, address: '192.0.2.10', port: 80 }] }, { format: 'ipvsadm' }),
    ),
    text(''),
    text('# nothing yet\n'),
    text('\u0000\u0001'),
    text('{"services": []}', { format: 'ipvsadm' }),
    text('-A -t 192.0.2.10:80\n', { format: 'json' }),
    text('hello\n'),
    text('IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n'),
    text('#!/bin/sh\nset -e\nipvsadm -C\n'),
    text('# ipvs rules\nvirtual_server 192.0.2.10 80 {\n    delay_loop 6\n}\n'),
    text('virtual=192.0.2.10:80\n        real=10.0.0.7:80 gate\n'),
    text('table ip filter {\n}\n'),
    text('*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n'),
  ],
}

const json: Room = {
  title: 'JSON',
  about: 'Line and column are those of the text.',
  cases: [
    text('{"services": ['),
    text('{"services": [{'),
    text('{"services": [1'),
    text('{"services": []} more'),
    text('{"services": [1 2]}'),
    text('{"services": [] "timeouts": {}}'),
    text('{services: []}'),
    text('{"services" []}'),
    text('{"services": yes}'),
    text('{"services": [], "services": []}'),
    text('{"services": [], "timeouts'),
    text('{"services": ["a\nb"]}'),
    text('{"services": ["a\tb"]}'),
    text('{"services": ["\\x"]}'),
    at(`parseState('{"services": ' + '['.repeat(100000))`, () =>
      parseState(`{"services": ${'['.repeat(100_000)}`),
    ),
    large(`'["' + 'x'.repeat(20000) + '"]'`, `["${'x'.repeat(20_000)}"]`, { format: 'json' }),
    large(
      `'{' + Array.from({ length: 1001 }, (_, at) => '"' + at + '": 1').join() + '}'`,
      `{${Array.from({ length: 1001 }, (_, index) => `"${String(index)}": 1`).join()}}`,
    ),
    text('# a comment\n{"services": []}', { format: 'json' }),
    text('{"services": [{"protocol": "tcp", "address": "192.0.2.10", "port": "80"}]}'),
    text('{"services": [{"protocol": "tcp", "address": "192.0.2.10", "port": 80, "realservers": []}]}'),
    large(`'{"services": [' + '[],'.repeat(4e6)`, `{"services": [${'[],'.repeat(4e6)}`),
    text('{"service": []}'),
  ],
}

const yaml: Room = {
  title: 'YAML',
  about: 'What the package `yaml` finds is told in its words.',
  cases: [
    text('services: []\n---\nservices: []\n'),
    text('%YAML 1.1\n---\nservices: []\n'),
    text('services: *web\n'),
    text('services: &web [*web]\n'),
    text('services:\n- <<: 5\n'),
    text('services: [\n'),
    text('services:\n'),
    large(`'services: ['.padEnd(17e6, 'a,')`, 'services: ['.padEnd(17e6, 'a,')),
    large(`'services: ' + 'x'.repeat(20000)`, `services: ${'x'.repeat(20_000)}\n`),
    large(`'services: [' + '*a, '.repeat(10001)`, `services: [${'*a, '.repeat(10_001)}`),
    large(`'services: [' + '&a 1, '.repeat(10001)`, `services: [${'&a 1, '.repeat(10_001)}`),
    large(
      `'services: [&a [' + '1, '.repeat(999) + '], ' + '*a, '.repeat(2000) + ']'`,
      `services: [&a [${'1, '.repeat(999)}], ${'*a, '.repeat(2000)}]`,
    ),
    large(`'services: [' + '[],'.repeat(600000)`, `services: [${'[],'.repeat(600_000)}`),
    large(`'services: ' + '['.repeat(200)`, `services: ${'['.repeat(200)}`),
    large(
      `Array.from({ length: 1001 }, (_, at) => 'a' + at + ': 1').join('\\n')`,
      Array.from({ length: 1001 }, (_, index) => `a${String(index)}: 1`).join('\n'),
    ),
    text(
      'services:\n- protocol: tcp\n  address: 192.0.2.10\n  port: 80\n  realServers:\n  - adress: 10.0.0.7\n',
    ),
  ],
}

const SERVICE = '-A -t 192.0.2.10:80\n'

const lines: Room = {
  title: 'Lines of ipvsadm',
  about: 'As `ipvs restore`, `parseState()` and `readState()` read them: strictly.',
  cases: [
    large(`'-A -t 192.0.2.10:80' + ' '.repeat(20000)`, `-A -t 192.0.2.10:80${' '.repeat(20_000)}\n`),
    text('-n -A -t 192.0.2.10:80\n'),
    text('-A -D -t 192.0.2.10:80\n'),
    text('-D -t 192.0.2.10:80\n'),
    text(`${SERVICE}-C\n`),
    text('-A "192.0.2.10\n'),
    text('--add-servce -t 192.0.2.10:80\n'),
    text('-A -j 192.0.2.10:80\n'),
    text('--add-service=5 -t 192.0.2.10:80\n'),
    text('-A=5 -t 192.0.2.10:80\n'),
    text('-A -t\n'),
    text('-A -s rr\n'),
    text('-A -t 192.0.2.10:80 rr\n'),
    text('-A -t 192.0.2.10:80 -s rr -s wlc\n'),
    text('-A -t 192.0.2.10:80 -u 192.0.2.10:80\n'),
    text('-A -t 192.0.2.10:80 -w 5\n'),
    text('-A -t 192.0.2.10:80 -s weighted-round-robin\n'),
    text('-A -t 192.0.2.10:80 -b port\n'),
    text('-A -t 192.0.2.10:80 -s rr -b sh-port\n'),
    text('-A -t 192.0.2.10:80 -p ever\n'),
    text('-A -t 192.0.2.10:80 -p 300 -M 24\n'),
    text('-A -t 192.0.2.10:80 -p 300 -M any\n'),
    text('-A -M 64 -t [2001:db8::1]:80 -p 300\n'),
    text('-A -t [2001:db8::1]:80 -p 300 -M 129\n'),
    text('-A -t 192.0.2.10:0\n'),
    text('-A -t 192.0.2.10:65536\n'),
    text('-A -t 192.0.2\n'),
    text('-A -t [2001:db8::1]\n'),
    text('-A -t [192.0.2.10]:80\n'),
    text('-A -t www:80\n'),
    text('-A -t 192.0.2.10:http\n'),
    text(`${SERVICE}${SERVICE}`),
    text('-A -f 0\n'),
    text('-A -6 -f 5\n'),
    text('-A -t 192.0.2.10:80 -6\n'),
    text('-a -t 192.0.2.10:80 -r 10.0.0.7\n'),
    text(`${SERVICE}-a -t 192.0.2.10:80\n`),
    text(`${SERVICE}-a -r 10.0.0.7 -t 192.0.2.10:80\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -g -m\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -w many\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -y 5\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -x 4 -y 5\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r [2001:db8::7]:80 -m\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -g --tun-type gue\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -i --tun-type vxlan\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -i --tun-type gue\n`),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -i --tun-type ipip --tun-port 6080\n`),
    text(
      `${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -i --tun-type gue --tun-port 6080 --tun-csum --tun-nocsum\n`,
    ),
    text(`${SERVICE}-a -t 192.0.2.10:80 -r 10.0.0.7 -i\n-a -t 192.0.2.10:80 -r 10.0.0.7 -i\n`),
    text('--set 900 120\n'),
    text('--set 900 120 never\n'),
    text('--start-daemon primary\n'),
    text('--start-daemon master --mcast-interface eth0 --syncid 256\n'),
    text('--start-daemon master --mcast-interface eth0 --mcast-group 10.0.0.1\n'),
    text('--start-daemon master --mcast-interface a-name-that-is-too-long\n'),
    text('--start-daemon master\n--start-daemon master\n'),
  ],
}

const looked = (title: string, input: string, options: ParseStateOptions): Case =>
  at(`parseState('${input}', ${title})`, () => parseState(`${input}\n`, options))

const names: Room = {
  title: 'Names in lines of ipvsadm',
  about: 'They are looked up by functions of the caller.',
  cases: [
    looked('{ lookupHost: () => undefined }', '-A -t www:80', { lookupHost: () => undefined }),
    looked('{ lookupHost: () => undefined }', '-A -t [www]:80', { lookupHost: () => undefined }),
    looked(`{ lookupHost: () => 'www' }`, '-A -t www:80', { lookupHost: () => 'www' }),
    looked(`{ lookupHost: () => '2001:db8::1' }`, '-A -t www:80', { lookupHost: () => '2001:db8::1' }),
    looked(`{ lookupHost() { throw new Error('no name server answers') } }`, '-A -t www:80', {
      lookupHost() {
        throw new Error('no name server answers')
      },
    }),
    looked('{ lookupService: () => undefined }', '-A -t 192.0.2.10:http', { lookupService: () => undefined }),
    looked('{ lookupService: () => 65536 }', '-A -t 192.0.2.10:http', { lookupService: () => 65536 }),
  ],
}

const WEB = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const

const losses: Room = {
  title: 'What lines of ipvsadm cannot say',
  about: '`onLoss` of `formatState()`, and `ipvs save --lossy`, tell these.',
  cases: [
    lossy({ services: [], sysctls: { conntrack: '1' } }),
    lossy({ timeouts: { tcpSeconds: 60 } }),
    lossy({ services: [{ ...WEB, port: 0 }] }),
    lossy({ services: [{ ...WEB, schedulerFlags: [64] }] }),
    lossy({ services: [], syncDaemons: [{ state: 'master', multicastInterface: 'eth0', syncId: 300 }] }),
    lossy({ services: [{ ...WEB, scheduler: 'my rr' }] }),
    lossy({ services: [{ ...WEB, protocol: 50 }] }),
    lossy({ services: [{ ...WEB, persistence: { timeoutSeconds: 4_000_000 } }] }),
    lossy({ services: [{ ...WEB, persistence: {}, persistenceEngine: 'my sip' }] }),
    lossy({ services: [{ ...WEB, onePacket: true }] }),
    lossy({
      services: [{ ...WEB, realServers: [{ address: '10.0.0.7' }, { address: '10.0.0.7', port: 81 }] }],
    }),
    lossy({ services: [{ ...WEB, realServers: [{ address: '10.0.0.7', port: 81 }] }] }),
    lossy({ services: [{ ...WEB, realServers: [{ address: '10.0.0.7', method: 'local' }] }] }),
    lossy({
      services: [{ ...WEB, realServers: [{ address: '10.0.0.7', tunnel: { type: 'gue', port: 6080 } }] }],
    }),
    ...([{ type: 3 }, { type: 'ipip', port: 6080 }, { type: 'gre', checksum: 'remcsum' }] as const).map(
      (tunnel) =>
        lossy({ services: [{ ...WEB, realServers: [{ address: '10.0.0.7', method: 'tunnel', tunnel }] }] }),
    ),
    lossy({ services: [], timeouts: { tcpSeconds: 4_000_000 } }),
    lossy({ services: [], syncDaemons: [{ state: 'master', multicastInterface: 'my eth0' }] }),
  ],
}

export const textRooms: readonly Room[] = [any, json, yaml, lines, names, losses]
