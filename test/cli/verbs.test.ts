import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { runOurs, wordsOf } from '../helpers/adm-programs.ts'
import { verbLines } from '../helpers/verb-lines.ts'
import { ipvs, type Said } from './terminal.ts'

/** add, set, weight, remove, zero and flush, as a user types them. */

const WEB = 'tcp/192.0.2.10:80'
const SHOP = 'tcp/192.0.2.11:443'

/** Two services that share a machine, with fields that no verb may lose. */
const LINES = `-A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2 -x 1000 -y 800
-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 1
-A -t 192.0.2.11:443 -s sh -b sh-port
-a -t 192.0.2.11:443 -r 10.0.0.9:443 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 3
-a -t 192.0.2.11:443 -r 10.0.0.7:444 -m -w 4
-A -f 5 -s rr
`

let kernel: MemoryKernel

async function opened<T>(work: (table: Ipvs) => Promise<T>): Promise<T> {
  const table = await Ipvs.open({ transport: kernel })
  try {
    return await work(table)
  } finally {
    await table.close()
  }
}

beforeEach(async () => {
  kernel = createMemoryKernel()
  await opened((table) => table.restore(LINES))
})

/** The table as lines of ipvsadm. */
async function lines(): Promise<string> {
  const { stdout } = await ipvs('save --format ipvsadm --no-timeouts', { kernel })
  return stdout
}

/** Runs a command that succeeds. Gives what it printed. */
async function done(line: string): Promise<string> {
  const { status, stdout, stderr } = await ipvs(line, { kernel })
  expect({ line, status, stderr }).toEqual({ line, status: 0, stderr: '' })
  return stdout
}

/** Runs a command that is refused, and changes nothing. Gives what it said. */
async function refused(line: string, status: number): Promise<string> {
  const before = await lines()
  const said = await ipvs(line, { kernel })
  expect({ line, status: said.status, stdout: said.stdout }).toEqual({ line, status, stdout: '' })
  expect(await lines()).toBe(before)
  return said.stderr
}

/** The lines that a change took away and brought. */
async function changeOf(line: string): Promise<string[]> {
  const before = (await lines()).split('\n')
  await done(line)
  const after = (await lines()).split('\n')
  return [
    ...before.filter((one) => !after.includes(one)).map((one) => `- ${one}`),
    ...after.filter((one) => !before.includes(one)).map((one) => `+ ${one}`),
  ]
}

describe('ipvs add', () => {
  test.each([
    ['a service', 'tcp/192.0.2.20:80', '-A -t 192.0.2.20:80 -s wlc'],
    [
      'all its fields',
      `tcp/192.0.2.20:80 scheduler=mh schedulerFlags=mh-port,mh-fallback`,
      '-A -t 192.0.2.20:80 -s mh -b mh-fallback,mh-port',
    ],
    ['persistence', 'tcp/192.0.2.20:0 persistence=300', '-A -t 192.0.2.20:0 -s wlc -p 300'],
    ['seconds as plans print them', 'fwmark/6 persistence=300s', '-A -f 6 -s wlc -p 300'],
    ['a netmask', 'fwmark/6 persistence=60 persistence.netmask=/24', '-A -f 6 -s wlc -p 60 -M 255.255.255.0'],
    ['a mask', 'fwmark/6 persistence.netmask=255.255.0.0', '-A -f 6 -s wlc -p 300 -M 255.255.0.0'],
    ['an IPv6 prefix', 'fwmark6/6 persistence=60 persistence.netmask=/64', '-A -f 6 -6 -s wlc -p 60 -M 64'],
    [
      'an engine',
      'udp/192.0.2.20:5060 persistence=60 persistenceEngine=sip',
      '-A -u 192.0.2.20:5060 -s wlc -p 60 --pe sip',
    ],
    ['one packet', 'udp/192.0.2.20:53 onePacket=yes scheduler=rr', '-A -u 192.0.2.20:53 -s rr -o'],
    [
      'what is as without',
      'fwmark/6 onePacket=no persistence=none persistenceEngine=none schedulerFlags=none',
      '-A -f 6 -s wlc',
    ],
    ['a server', 'fwmark/5 10.0.0.1', '-a -f 5 -r 10.0.0.1:0 -g -w 1'],
    [
      'fields of a server',
      `${WEB} 10.0.0.1:8080 method=masquerade weight=5 upperThreshold=9 lowerThreshold=7`,
      '-a -t 192.0.2.10:80 -r 10.0.0.1:8080 -m -w 5 -x 9 -y 7',
    ],
    ['the port of the service', `${WEB} 10.0.0.1`, '-a -t 192.0.2.10:80 -r 10.0.0.1:80 -g -w 1'],
    [
      'GUE',
      'fwmark/5 10.0.0.1 method=tunnel tunnel=gue:6080/csum',
      '-a -f 5 -r 10.0.0.1:0 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum',
    ],
    [
      'GRE',
      'fwmark/5 10.0.0.1 method=tunnel tunnel=gre',
      '-a -f 5 -r 10.0.0.1:0 -i -w 1 --tun-type gre --tun-nocsum',
    ],
    [
      'IP-in-IP',
      'fwmark/5 2001:db8::7 method=tunnel tunnel=none',
      '-a -f 5 -r [2001:db8::7]:0 -i -w 1 --tun-type ipip',
    ],
    ['words in any order', 'fwmark/5 weight=2 10.0.0.1', '-a -f 5 -r 10.0.0.1:0 -g -w 2'],
  ])('adds %s', async (_, words, line) => {
    expect(await changeOf(`add ${words}`)).toEqual([`+ ${line}`])
  })

  test('adds several servers in front, as the kernel does, each once', async () => {
    await done(`add ${WEB} 10.0.0.1:8080 10.0.0.2:8080 10.0.0.1:8080 method=masquerade`)
    const servers = await opened((table) =>
      table.realServers({ protocol: 'tcp', address: '192.0.2.10', port: 80 }),
    )
    expect(servers.map(({ address }) => address)).toEqual(['10.0.0.1', '10.0.0.2', '10.0.0.8', '10.0.0.7'])
  })

  test('prints what it did as apply does', async () => {
    expect(await done(`add ${WEB} 10.0.0.1:8080 method=masquerade weight=5`)).toContain(
      `  ${WEB}\n+   10.0.0.1:8080  method masquerade, weight 5\n1 to add, 0 to change, 0 to delete.\n`,
    )
  })

  test.each([
    [
      'a service that is there',
      WEB,
      8,
      `EEXIST: add-service ${WEB}: the virtual service already exists; change it with \`ipvs set\``,
    ],
    [
      'a server that is there',
      `${WEB} 10.0.0.1 10.0.0.7:8080`,
      8,
      `EEXIST: add-server ${WEB} -> 10.0.0.7:8080`,
    ],
    ['servers of no service', 'tcp/192.0.2.20:80 10.0.0.1', 4, 'add it first: ipvs add tcp/192.0.2.20:80'],
    ['servers of no IPv6 service', 'tcp/[2001:db8::1]:80 2001:db8::7', 4, "ipvs add 'tcp/[2001:db8::1]:80'"],
    ['port 0 without persistence', 'tcp/192.0.2.20:0', 2, 'works only with persistence'],
    ['another family without a tunnel', `${WEB} 2001:db8::7`, 2, "method must be 'tunnel'"],
    [
      'GUE without a port',
      `${WEB} 10.0.0.1 method=tunnel tunnel=gue`,
      2,
      'a tunnel of type gue needs a port, such as tunnel=gue:6080',
    ],
    ['thresholds that are crossed', `${WEB} 10.0.0.1 lowerThreshold=5`, 2, 'give upperThreshold too'],
  ])('refuses %s', async (_, words, status, said) => {
    expect(await refused(`add ${words}`, status)).toContain(said)
  })

  test('names the schedulers where one is not there, and that which was probably meant', async () => {
    const said = await refused('add fwmark/6 scheduler=wrrr', 8)
    expect(said).toContain("Did you mean 'wrr'? Linux has rr, wrr, lc, wlc,")
  })
})

describe('ipvs set', () => {
  test.each([
    [
      'the scheduler',
      `${WEB} scheduler=wlc`,
      [
        '- -A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0',
        '+ -A -t 192.0.2.10:80 -s wlc -p 600 -M 255.255.255.0',
      ],
    ],
    [
      'the scheduler, whose flags have the same meaning',
      `${SHOP} scheduler=mh`,
      ['- -A -t 192.0.2.11:443 -s sh -b sh-port', '+ -A -t 192.0.2.11:443 -s mh -b mh-port'],
    ],
    [
      'flags',
      `${SHOP} schedulerFlags=none`,
      ['- -A -t 192.0.2.11:443 -s sh -b sh-port', '+ -A -t 192.0.2.11:443 -s sh'],
    ],
    [
      'the timeout alone',
      `${WEB} persistence=60`,
      [
        '- -A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0',
        '+ -A -t 192.0.2.10:80 -s wrr -p 60 -M 255.255.255.0',
      ],
    ],
    [
      'the netmask alone',
      `${WEB} persistence.netmask=/32`,
      ['- -A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0', '+ -A -t 192.0.2.10:80 -s wrr -p 600'],
    ],
    [
      'no persistence',
      `${WEB} persistence=none`,
      ['- -A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0', '+ -A -t 192.0.2.10:80 -s wrr'],
    ],
    [
      'a weight',
      `${WEB} 10.0.0.8:8080 weight=9`,
      [
        '- -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2 -x 1000 -y 800',
        '+ -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 9 -x 1000 -y 800',
      ],
    ],
    [
      'no thresholds',
      `${WEB} 10.0.0.8:8080 upperThreshold=none lowerThreshold=0`,
      [
        '- -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2 -x 1000 -y 800',
        '+ -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2',
      ],
    ],
    [
      'a tunnel',
      `${SHOP} 10.0.0.9 tunnel=gre/csum`,
      [
        '- -a -t 192.0.2.11:443 -r 10.0.0.9:443 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum',
        '+ -a -t 192.0.2.11:443 -r 10.0.0.9:443 -i -w 1 --tun-type gre --tun-csum',
      ],
    ],
  ])('changes %s and nothing else', async (_, words, change) => {
    expect(await changeOf(`set ${words}`)).toEqual(change)
  })

  test('keeps the order of the servers', async () => {
    const order = (): Promise<string[]> =>
      opened(async (table) =>
        (await table.realServers({ protocol: 'tcp', address: '192.0.2.10', port: 80 })).map(
          ({ address }) => address,
        ),
      )
    const before = await order()
    expect(await done(`set ${WEB} 10.0.0.8:8080 weight=9`)).not.toContain('order')
    expect(await order()).toEqual(before)
  })

  test('changes several servers', async () => {
    expect(await done(`set ${WEB} 10.0.0.7:8080 10.0.0.8:8080 weight=9`)).toContain('0 to add, 2 to change')
    expect((await lines()).match(/-m -w 9/g)).toHaveLength(2)
  })

  test('does nothing where all is as it says', async () => {
    expect(await done(`set ${WEB} scheduler=wrr`)).toContain('Nothing to do.\n')
    expect(await done(`set ${WEB} 10.0.0.7:8080 weight=1`)).toContain('Nothing to do.\n')
  })

  test.each([
    ['no field', WEB, 'give at least one field, such as scheduler=wrr; expected one of scheduler,'],
    ['no field of a server', `${WEB} 10.0.0.7:8080`, 'such as weight=5; expected one of method, weight,'],
    [
      'a misspelt field',
      `${WEB} sheduler=rr`,
      "no field 'sheduler': did you mean 'scheduler'? Its fields: scheduler, schedulerFlags",
    ],
    [
      'a field that nothing has',
      `${WEB} 10.0.0.7:8080 color=red`,
      "a real server has no field 'color'. Its fields: method, weight,",
    ],
    [
      'a field of servers without one',
      `${WEB} weight=5`,
      'weight is a field of a real server: name the real servers too',
    ],
    [
      'such a field misspelt',
      `${WEB} wieght=5`,
      'weight is a field of a real server: name the real servers too',
    ],
    [
      'a field of services for a server',
      `${WEB} 10.0.0.7:8080 scheduler=rr`,
      'scheduler is a field of a virtual service: leave out the real servers',
    ],
    ['a field twice', `${WEB} 10.0.0.7:8080 weight=1 weight=2`, 'weight is given twice'],
    [
      'a field and its value as two words',
      `${WEB} 10.0.0.7:8080 weight 5`,
      "'weight' is not a real server; a field is written weight=5",
    ],
    ['a field without a value', `${WEB} weight`, 'a field is written weight=VALUE'],
    [
      'an option of ipvsadm',
      `${WEB} 10.0.0.7:8080 -w 5`,
      "unknown option '-w'; a field is written weight=5; see",
    ],
    [
      'a service as ipvsadm has it',
      `-t 192.0.2.10:80 -s rr`,
      "unknown option '-t'; a service is written tcp/192.0.2.10:80",
    ],
    ['a mark as ipvsadm has it', `-f 5`, "unknown option '-f'; a service is written fwmark/5"],
    [
      'a server as ipvsadm has it',
      `${WEB} -r 10.0.0.7:8080 -w 5`,
      "unknown option '-r'; a real server behind its service is written 10.0.0.7:8080",
    ],
    ['another option', `${WEB} 10.0.0.7:8080 -q`, "unknown option '-q'; see"],
    [
      'a weight below 0',
      `${WEB} 10.0.0.7:8080 weight=-1`,
      'weight must be a whole number 0 to 2147483647, got -1',
    ],
    ['a weight that is no number', `${WEB} 10.0.0.7:8080 weight=high`, "got 'high'"],
    [
      'a method that is none',
      `${WEB} 10.0.0.7:8080 method=mask`,
      "one of 'masquerade', 'tunnel', 'direct', 'local', 'bypass'",
    ],
    [
      'a flag of another scheduler',
      `${WEB} schedulerFlags=sh-port`,
      "'sh-port' is not a flag of scheduler 'wrr'",
    ],
    [
      'persistence that is no number',
      `${WEB} persistence=yes`,
      "persistence must be a number of seconds, or none; got 'yes'",
    ],
    ['more seconds than the kernel keeps', `${WEB} persistence=4294968`, '0 to 4294967, got 4294968'],
    [
      'a netmask without persistence',
      `${WEB} persistence=none persistence.netmask=/24`,
      'leave out persistence.netmask',
    ],
    [
      'a netmask where there is no persistence',
      `${SHOP} persistence.netmask=/24`,
      `${SHOP} has no persistence: give persistence=SECONDS too`,
    ],
    ['one packet that is neither', `${WEB} onePacket=maybe`, "onePacket must be yes or no; got 'maybe'"],
    ['a tunnel that is none', `${WEB} 10.0.0.7:8080 tunnel=gue/6080/csum`, 'such as gue:6080/csum'],
    [
      'a type of tunnel that is none',
      `${WEB} 10.0.0.7:8080 tunnel=vxlan`,
      "tunnel.type must be one of 'ipip', 'gue', 'gre'",
    ],
    ['a host', `${WEB} web1 weight=5`, 'names are not looked up'],
    ['what is no service', '192.0.2.10:80 scheduler=rr', 'a virtual service is written like'],
    ['everywhere without a server', '--everywhere weight=0', '--everywhere needs a real server'],
    [
      'everywhere with a service',
      `--everywhere ${WEB} 10.0.0.7 weight=0`,
      `leave out '${WEB}', or leave out --everywhere`,
    ],
    [
      'fields of a service everywhere',
      '--everywhere 10.0.0.7 scheduler=rr',
      'scheduler is a field of a virtual service, and --everywhere is about real servers: leave out --everywhere',
    ],
  ])('refuses %s as a mistake of the command line', async (_, words, said) => {
    expect(await refused(`set ${words}`, 2)).toContain(said)
  })

  test.each([
    ['a service', 'tcp/192.0.2.20:80 scheduler=rr', 'tcp/192.0.2.20:80: there is no such virtual service'],
    ['servers of such a service', 'tcp/192.0.2.20:80 10.0.0.7 weight=1', 'there is no such virtual service'],
    [
      'one of the servers',
      `${WEB} 10.0.0.7:8080 10.0.0.1 weight=1`,
      `there is no real server ${WEB} -> 10.0.0.1:80`,
    ],
    ['a port', `${WEB} 10.0.0.7 weight=1`, 'did you mean 10.0.0.7:8080?'],
    ['a machine', '--everywhere 10.0.0.7 10.0.0.1 weight=1', 'no service has the real server 10.0.0.1'],
    [
      'a server everywhere',
      '--everywhere 10.0.0.9:80 weight=1',
      'no service has the real server 10.0.0.9:80',
    ],
  ])('says that %s is not there, and does nothing', async (_, words, said) => {
    expect(await refused(`set ${words}`, 4)).toContain(said)
  })
})

test('a verb without permission speaks of no command that nobody typed', async () => {
  kernel = createMemoryKernel({ privileged: false })
  for (const line of [
    `weight ${WEB} 10.0.0.7 1`,
    `add ${WEB}`,
    'remove --everywhere 10.0.0.7',
    'flush --yes',
  ]) {
    const { status, stderr } = await ipvs(line, { kernel })
    expect({ line, status, stderr }).toMatchObject({ status: 5 })
    expect(stderr).toMatch(/^ipvs: EPERM: (flush: )?permission denied: /)
  }
})

test('what the kernel refuses is said once', async () => {
  kernel.failNext({ command: 'addRealServer', errno: 'EINVAL' })
  const said = await refused(`add ${WEB} 10.0.0.1`, 8)
  expect(said).toMatch(
    /^ipvs: add-server tcp\/192\.0\.2\.10:80 -> 10\.0\.0\.1:80 failed: EINVAL: (?!add-server)/,
  )
})

describe('ipvs weight', () => {
  test('changes the weight of servers and nothing else', async () => {
    expect(await changeOf(`weight ${WEB} 10.0.0.8:8080 9`)).toEqual([
      '- -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2 -x 1000 -y 800',
      '+ -a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 9 -x 1000 -y 800',
    ])
    expect(await done(`weight ${WEB} 10.0.0.7:8080 10.0.0.8:8080 4`)).toContain('2 to change')
  })

  test('--everywhere is every port of a machine, or one', async () => {
    expect(await changeOf('weight --everywhere 10.0.0.7 0')).toEqual([
      '- -a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 1',
      '- -a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 3',
      '- -a -t 192.0.2.11:443 -r 10.0.0.7:444 -m -w 4',
      '+ -a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 0',
      '+ -a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 0',
      '+ -a -t 192.0.2.11:443 -r 10.0.0.7:444 -m -w 0',
    ])
    expect(await changeOf('weight --everywhere 10.0.0.7:443 7')).toEqual([
      '- -a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 0',
      '+ -a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 7',
    ])
  })

  test('of the last live servers does not become 0 without --force; set brings them back', async () => {
    const line = `weight ${WEB} 10.0.0.7:8080 10.0.0.8:8080 0`
    expect(await refused(line, 3)).toContain(
      `${WEB} would be left without a real server whose weight is above 0`,
    )
    await done(`${line} --force`)
    expect(await lines()).toContain('-r 10.0.0.7:8080 -m -w 0')
    await done(`set ${WEB} 10.0.0.7:8080 10.0.0.8:8080 weight=1`)
    expect(await lines()).toContain('-r 10.0.0.7:8080 -m -w 1')
  })

  test.each([
    [
      'no number',
      `${WEB} 10.0.0.7:8080`,
      "the last word must be the weight, a whole number; got '10.0.0.7:8080'",
    ],
    ['no server', `${WEB} 5`, 'name at least one real server before the weight'],
    ['nothing', WEB, 'the last word must be the weight'],
    ['too much', `${WEB} 10.0.0.7:8080 2147483648`, 'weight must be a whole number 0 to 2147483647'],
    [
      'a field',
      `${WEB} 10.0.0.8:8080 method=masquerade 5`,
      "weight takes no fields: leave out 'method=masquerade'",
    ],
  ])('refuses %s', async (_, words, said) => {
    expect(await refused(`weight ${words}`, 2)).toContain(said)
  })
})

describe('ipvs remove', () => {
  test('removes a service with its servers, without a question', async () => {
    expect(await done(`remove ${WEB}`)).toContain('3 to delete')
    expect(await lines()).not.toContain('192.0.2.10')
  })

  test('removes servers, and leaves the others', async () => {
    expect(await changeOf(`remove ${WEB} 10.0.0.7:8080`)).toEqual([
      '- -a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 1',
    ])
  })

  test('--everywhere without a server says that one is missing', async () => {
    expect(await refused('remove --everywhere', 2)).toContain(
      '--everywhere needs a real server, such as 10.0.0.7;',
    )
  })

  test.each([
    ['service', `${WEB} weight=5`, "leave out 'weight=5'"],
    ['server', `${WEB} 10.0.0.8:8080 method=tunnel`, "leave out 'method=tunnel'"],
    ['machine', '--everywhere 10.0.0.7 weight=0', "leave out 'weight=0'"],
  ])('refuses a field behind a %s, which does not choose what goes', async (_, words, said) => {
    expect(await refused(`remove ${words}`, 2)).toContain(`remove takes no fields: ${said}`)
  })

  test('--everywhere removes a machine from every service', async () => {
    expect(await changeOf('remove --everywhere 10.0.0.7')).toEqual([
      '- -a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 1',
      '- -a -t 192.0.2.11:443 -r 10.0.0.7:443 -m -w 3',
      '- -a -t 192.0.2.11:443 -r 10.0.0.7:444 -m -w 4',
    ])
  })

  test('of the last live server is refused without --force', async () => {
    await refused(`remove ${WEB} 10.0.0.7:8080 10.0.0.8:8080`, 3)
    await done(`remove ${WEB} 10.0.0.7:8080 10.0.0.8:8080 --force`)
    expect(await lines()).toContain('-A -t 192.0.2.10:80')
  })

  test('--drain waits for the connections of a server', async () => {
    const [connection] = kernel.traffic(
      { protocol: 'tcp', address: '192.0.2.10', port: 80 },
      { connections: 4 },
    )
    expect(connection).toBeDefined()
    const around = { kernel, columns: 100, secondsPerLook: 1, env: { NO_COLOR: '1' } }
    const { status, stderr } = await ipvs(`remove ${WEB} 10.0.0.7:8080 --drain 0.3`, around)
    expect(status).toBe(0)
    expect(stderr).toContain('draining')
    expect(await lines()).not.toContain('10.0.0.7:8080')
  })

  test('says what is not there, and does nothing', async () => {
    expect(await refused('remove tcp/192.0.2.20:80', 4)).toContain('there is no such virtual service')
    expect(await refused(`remove ${WEB} 10.0.0.7:8080 10.0.0.1`, 4)).toContain('10.0.0.1:80')
    expect(await refused('remove --everywhere 10.0.0.1', 4)).toContain('10.0.0.1')
  })
})

describe('ipvs zero', () => {
  const connections = (): Promise<Record<string, number>> =>
    opened(async (table) => {
      const services = await table.services()
      return Object.fromEntries(
        services.map(({ key, stats }) => ['address' in key ? key.address : '', stats.connections]),
      )
    })

  beforeEach(() => {
    kernel.traffic({ protocol: 'tcp', address: '192.0.2.10', port: 80 }, { connections: 3 })
    kernel.traffic({ protocol: 'tcp', address: '192.0.2.11', port: 443 }, { connections: 3 })
    kernel.advance(2)
  })

  test('sets the counters of one service to zero, or all', async () => {
    expect(await connections()).toMatchObject({ '192.0.2.10': 3, '192.0.2.11': 3 })
    expect(await done(`zero ${WEB}`)).toBe(`The counters of ${WEB} and its real servers were set to zero.\n`)
    expect(await connections()).toMatchObject({ '192.0.2.10': 0, '192.0.2.11': 3 })
    expect(await done('zero')).toBe('All counters were set to zero.\n')
    expect(await connections()).toMatchObject({ '192.0.2.10': 0, '192.0.2.11': 0 })
  })

  test('--dry-run changes nothing', async () => {
    const said = await ipvs(`zero ${WEB} --dry-run --json`, { kernel })
    expect({ status: said.status, value: JSON.parse(said.stdout) as unknown }).toEqual({
      status: 1,
      value: { service: WEB, zeroed: false },
    })
    expect(await connections()).toMatchObject({ '192.0.2.10': 3 })
    expect(JSON.parse(await done('zero --json'))).toEqual({ zeroed: true })
  })

  test('says that a service is not there', async () => {
    expect(await refused('zero tcp/192.0.2.20:80', 4)).toContain('there is no such virtual service')
    expect(await refused('zero tcp/192.0.2.20:80 --dry-run', 4)).toContain('there is no such virtual service')
  })
})

describe('ipvs flush', () => {
  const QUESTION = 'This deletes 3 services and 5 real servers. Go on? [y/N]'
  const asked = (stdin: string): Promise<Said> =>
    ipvs('flush', { kernel, columns: 100, stdin, env: { NO_COLOR: '1' } })

  test('asks, says how much goes, and does it after a yes', async () => {
    const no = await asked('n\n')
    expect(no.status).toBe(3)
    expect(no.stderr).toContain(QUESTION)
    expect(await lines()).not.toBe('')
    const yes = await asked('y\n')
    expect(yes.status).toBe(0)
    expect(yes.stderr).toContain(QUESTION)
    expect(await lines()).toBe('')
  })

  test('is refused where nobody can be asked, unless --yes is given', async () => {
    const { status, stderr } = await ipvs('flush', { kernel })
    expect(status).toBe(3)
    expect(stderr).toContain('deletes 3 services and 5 real servers, and there is nobody to ask: give --yes')
    expect(await done('flush --yes')).toContain('8 to delete')
    expect(await lines()).toBe('')
  })

  test('has nothing to ask where the table is empty', async () => {
    await done('flush --yes')
    expect(await done('flush')).toContain('Nothing to do.\n')
  })

  test('leaves timeouts and sync daemons', async () => {
    const settings = (table: Ipvs): Promise<unknown> => Promise.all([table.timeouts(), table.syncDaemons()])
    const before = await opened(async (table) => {
      await table.setTimeouts({ tcpSeconds: 77 })
      await table.startSyncDaemon({ state: 'master', multicastInterface: 'eth0' })
      return settings(table)
    })
    await done('flush --yes')
    expect(await opened(settings)).toEqual(before)
  })

  test('--dry-run changes nothing', async () => {
    const before = await lines()
    expect(await ipvs('flush --dry-run', { kernel })).toMatchObject({ status: 1, stderr: '' })
    expect(await lines()).toBe(before)
  })
})

describe('every verb that changes the table', () => {
  /** Each, and what it asks of the kernel first. */
  const VERBS = [
    ['add tcp/192.0.2.20:80', 'addService'],
    [`add ${WEB} 10.0.0.1:8080 method=masquerade`, 'addRealServer'],
    [`set ${WEB} scheduler=wlc`, 'editService'],
    [`set ${WEB} 10.0.0.7:8080 weight=9`, 'editRealServer'],
    ['set --everywhere 10.0.0.7 weight=9', 'editRealServer'],
    [`weight ${WEB} 10.0.0.7:8080 9`, 'editRealServer'],
    [`remove ${WEB} 10.0.0.7:8080`, 'deleteRealServer'],
    [`remove ${WEB}`, 'deleteService'],
    ['remove --everywhere 10.0.0.7', 'deleteRealServer'],
    ['flush --yes', 'deleteService'],
  ] as const

  test.each(VERBS)('%s: --dry-run tells the same, changes nothing, and ends with 1', async (line) => {
    const before = await lines()
    const dry = await ipvs(`${line} --dry-run`, { kernel })
    expect(dry).toMatchObject({ status: 1, stderr: '' })
    expect(await lines()).toBe(before)
    expect(await done(line)).toContain(dry.stdout)
    expect(await lines()).not.toBe(before)
  })

  test.each(VERBS)('%s: --json is the value of apply', async (line) => {
    for (const [more, status, applied] of [
      [' --dry-run', 1, false],
      ['', 0, true],
    ] as const) {
      const said = await ipvs(`${line}${more} --json`, { kernel })
      expect(said).toMatchObject({ status, stderr: '' })
      const value = JSON.parse(said.stdout) as { readonly steps: readonly unknown[] }
      expect(value).toMatchObject({ applied, starved: [], reordered: [], absentSysctls: [] })
      expect(value.steps.length).toBeGreaterThan(0)
    }
  })

  test.each(VERBS)('%s: works on the table of a file', async (line) => {
    const path = join(folder, 'table.rules')
    writeFileSync(path, LINES)
    await done(line)
    const said = await ipvs(`${line} --memory ${path}`)
    expect(said.status).toBe(0)
    expect(readFileSync(path, 'utf8')).toBe(await lines())
  })

  test.each(VERBS)('%s: is undone if a step fails', async (line, command) => {
    // What is added again comes in front.
    const sorted = async (): Promise<string[]> => (await lines()).split('\n').sort()
    const before = await sorted()
    kernel.failNext({ command, errno: 'ENOMEM' })
    const { status } = await ipvs(line, { kernel })
    expect(status).toBe(8)
    expect(await sorted()).toEqual(before)
  })

  test.each([
    ['set', `set ${WEB} 10.0.0.7:8080 weight=9`],
    ['weight', `weight --everywhere 10.0.0.7 9`],
    ['remove', `remove ${WEB} 10.0.0.7:8080`],
  ])('%s keeps what another program changes between reading and writing', async (_, line) => {
    const key = { protocol: 'tcp', address: '192.0.2.10', port: 80 } as const
    // The reads of save() are the first, and that of apply() comes after them.
    const foreign = (): Promise<void> =>
      opened(async (table) => {
        await table.editService(key, { scheduler: 'lc' })
        await table.addRealServer(key, { address: '10.0.0.99', weight: 6 })
        await table.editRealServer(key, { address: '10.0.0.8', port: 8080 }, { weight: 5 })
      })
    let reads = 0
    const later = (): void => {
      kernel.beforeNext('getService', () => {
        reads += 1
        if (reads === 3) return foreign()
        later()
        return undefined
      })
    }
    later()
    await done(line)
    expect(reads).toBe(3)
    const after = await lines()
    expect(after).toContain('-A -t 192.0.2.10:80 -s lc -p 600')
    expect(after).toContain('-r 10.0.0.99:80 -g -w 6')
    expect(after).toContain('-r 10.0.0.8:8080 -m -w 5')
    expect(after).not.toContain('-r 10.0.0.7:8080 -m -w 1')
  })

  test('gives up, and says why, if the services never rest', async () => {
    let weight = 10
    const again = (): void => {
      kernel.beforeNext('getService', async () => {
        weight += 1
        await opened((table) =>
          table.editRealServer(
            { protocol: 'tcp', address: '192.0.2.10', port: 80 },
            { address: '10.0.0.8', port: 8080 },
            { weight },
          ),
        )
        again()
      })
    }
    again()
    const { status, stderr } = await ipvs(`set ${WEB} 10.0.0.7:8080 weight=9`, { kernel })
    expect(status).toBe(8)
    expect(stderr).toContain('the table kept changing')
  })
})

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-verbs-'))
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

test('each line of docs/ipvsadm.md does what the verb beside it does', async () => {
  const rows = verbLines()
  const commands = new Set(rows.map(({ theirs }) => theirs.split(' ')[0]))
  expect([...commands].sort()).toEqual(['-A', '-C', '-D', '-E', '-Z', '-a', '-d', '-e'])
  kernel = createMemoryKernel()
  const other = createMemoryKernel()
  for (const { theirs, ours } of rows) {
    expect(await runOurs(other, wordsOf(theirs))).toMatchObject({ status: 0, stderr: '' })
    const { status, stderr } = await ipvs(wordsOf(ours), { kernel })
    expect({ ours, status, stderr }).toEqual({ ours, status: 0, stderr: '' })
    const saved = async (transport: MemoryKernel): Promise<unknown> => {
      const table = await Ipvs.open({ transport })
      try {
        return await table.save()
      } finally {
        await table.close()
      }
    }
    expect(await saved(kernel), `${theirs} -> ${ours}`).toEqual(await saved(other))
  }
})
