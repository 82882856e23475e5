import { expect, test } from 'vitest'
import { openNative } from '../../lib/transport/native.ts'
import type { Transport } from '../../lib/transport/transport.ts'
import { daemonWithId, ODD_TABLES } from '../helpers/adm-odd-tables.ts'
import { runOurs } from '../helpers/adm-programs.ts'
import { kernelTests, type Netns, withNamespace, withNamespaces } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'
import { until } from '../helpers/until.ts'
import { Connection, REAL, sendDatagram, startEcho, VIRTUAL, withNetwork } from '../helpers/kernel-traffic.ts'
import { chooseSeed, Random } from '../helpers/random.ts'
import type { CommandResult, Shell } from '../helpers/shell.ts'

/** Listings of one table by the real ipvsadm and by ours: the same bytes. */

const VIEWS = [
  '-Ln',
  '-L -n --nosort',
  '-Ln --stats',
  '-Ln --stats --exact',
  '-Ln --rate',
  '-Ln --rate --exact',
  '-Ln --thresholds',
  '-Ln --persistent-conn',
  '-Ln --tun-info',
  '-Sn',
  '-L',
  '-S',
  '',
]

async function expectSame(netns: Netns, shell: Shell, views: readonly string[]): Promise<void> {
  for (const view of views) {
    const words = view === '' ? [] : view.split(' ')
    // Counters go on meanwhile: what was the same before and after ours must be ours. So do timers, by the second: what
    // they say must lie in between.
    await until(`a moment in which nothing changes: ipvsadm ${view}`, async () => {
      const before = await shell.run(['ipvsadm', ...words])
      const ours = await runOurs(netns, words)
      const after = await shell.run(['ipvsadm', ...words])
      if (JSON.stringify(withoutTimers(before)) !== JSON.stringify(withoutTimers(after))) return false
      expect(withoutTimers(ours), `ipvsadm ${view}`).toEqual(withoutTimers(before))
      const [most, least] = [timersOf(before), timersOf(after)]
      for (const [index, seconds] of timersOf(ours).entries()) {
        expect(seconds).toBeLessThanOrEqual(most[index] ?? NaN)
        expect(seconds).toBeGreaterThanOrEqual(least[index] ?? NaN)
      }
      return true
    })
  }
}

/** A mark that ipvsadm cannot read again is written so that it can (docs/ipvsadm.md). */
async function expectSameSave(netns: Netns, shell: Shell, view: string): Promise<void> {
  const words = view.split(' ')
  const [theirs, ours] = [await shell.run(['ipvsadm', ...words]), await runOurs(netns, words)]
  const readable = theirs.stdout.replace(/ -f (-\d+)/g, (_, mark: string) => ` -f ${Number(mark) >>> 0}`)
  expect(ours, `ipvsadm ${view}`).toEqual({ ...theirs, stdout: readable })
}

async function openTransport(netns: Netns): Promise<Transport> {
  const transport = await openNative({ netns: netns.path, timeoutMs: patient(5000) })
  if ('errno' in transport) throw new Error(`no transport: errno ${String(transport.errno)}`)
  return transport
}

/** When a connection expires, in minutes and seconds: the second column of -Lc. */
const TIMER = /^([A-Z]+ +)(\d+):(\d\d)/gm

function timersOf({ stdout }: CommandResult): number[] {
  return [...stdout.matchAll(TIMER)].map(([, , minutes, seconds]) => Number(minutes) * 60 + Number(seconds))
}

function withoutTimers(result: CommandResult): CommandResult {
  return { ...result, stdout: result.stdout.replace(TIMER, '$1mm:ss') }
}

kernelTests('the same listings as ipvsadm', () => {
  test('of random tables, in the order that its sort makes of the kernel’s', async () => {
    const random = new Random(chooseSeed('listings of random tables'))
    const ipv4 = (): string =>
      [...random.bytes(4)].map((byte, index) => (index === 0 ? 1 + (byte % 223) : byte)).join('.')
    const ipv6 = (): string =>
      `[2${Array.from({ length: 8 }, () => random.below(65536).toString(16).padStart(4, '0'))
        .join(':')
        .slice(1)}]`
    await withNamespace(async (netns) => {
      const lines: string[] = []
      for (let count = 0; count < 80; count++) {
        const service = random.pick([
          () => `-t ${ipv4()}:${random.below(65535) + 1}`,
          () => `-u ${ipv6()}:${random.below(65535) + 1}`,
          () => `-f ${random.below(2 ** 32 - 1) + 1}`,
          () => `-f ${random.below(2 ** 32 - 1) + 1} -6`,
        ])()
        lines.push(`-A ${service} -s rr`)
        for (let server = random.below(12); server > 0; server--) {
          const address = random.below(2) === 0 ? ipv4() : ipv6()
          lines.push(`-a ${service} -r ${address}:${random.below(65536)} -i -w ${random.below(9)}`)
        }
      }
      // 127.0.0.0/8 and others that are no unicast addresses are refused: what is left is random enough.
      await netns.tryRun(['ipvsadm', '-R'], `${lines.join('\n')}\n`)
      expect((await netns.ipvs.services()).length).toBeGreaterThan(70)
      const shell = netns.shell()
      await expectSame(netns, shell, ['-Ln', '-Ln --nosort', '-Ln --stats'])
      await expectSameSave(netns, shell, '-Sn')
    })
  })

  test.each(ODD_TABLES)(
    'of tables that ipvsadm could not make: $title',
    async ({ requests, refused = 0, views = VIEWS }) => {
      await withNamespace(async (netns) => {
        const transport = await openTransport(netns)
        const replies = await transport.batch(requests)
        await transport.close()
        expect(replies.filter(({ failure }) => failure !== undefined)).toHaveLength(refused)
        const shell = netns.shell()
        for (const view of views) {
          if (view.startsWith('-S')) await expectSameSave(netns, shell, view)
          else await expectSame(netns, shell, [view])
        }
      })
    },
  )

  test.each([256, 0x7fffffff, 0x80000000, 0xffffffff])(
    'of a sync daemon with the id %i, which ipvsadm does not take',
    async (id) => {
      await withNamespaces(
        1,
        async (netns) => {
          const transport = await openTransport(netns)
          const [reply] = await transport.batch([daemonWithId(id)])
          await transport.close()
          expect(reply).toEqual({})
          await expectSame(netns, netns.shell(), ['-L --daemon'])
        },
        {
          setUp: () => [
            ['link add dummy0 type dummy', 'link set dummy0 up', 'route add 224.0.0.0/4 dev dummy0'],
          ],
        },
      )
    },
  )

  test('of a table with traffic: counters, rates, connections, persistence and engines', async () => {
    await withNetwork(async ({ client, director, host }) => {
      await startEcho(host, 'tcp', 8080)
      await startEcho(host, 'udp', 5060)
      const { ipv4, ipv6 } = VIRTUAL
      await director.ipvsadm([
        `-A -t ${ipv4}:80 -s rr`,
        `-a -t ${ipv4}:80 -r ${REAL.ipv4}:8080 -m -w 3 -x 100 -y 50`,
        `-a -t ${ipv4}:80 -r ${REAL.second}:8080 -m`,
        `-A -t ${ipv4}:443 -p 600 -M 255.255.255.0`,
        `-a -t ${ipv4}:443 -r ${REAL.ipv4}:8080 -m`,
        `-A -t [${ipv6}]:80`,
        `-a -t [${ipv6}]:80 -r [${REAL.ipv6}]:8080 -m`,
        `-A -u ${ipv4}:5060 -s rr -p 60`,
        `-a -u ${ipv4}:5060 -r ${REAL.ipv4}:5060 -m`,
        `-A -u ${ipv4}:5061 -s rr -p 60 --pe sip`,
        `-a -u ${ipv4}:5061 -r ${REAL.ipv4}:5060 -m`,
        `-A -f 7 -p 100`,
      ])
      const connections = [
        await Connection.open(client, ipv4, 80),
        await Connection.open(client, ipv4, 80),
        await Connection.open(client, ipv4, 443),
        await Connection.open(client, ipv6, 80),
      ]
      await (await Connection.open(client, ipv4, 80)).close()
      await sendDatagram(client, ipv4, 5060)
      const sip = 'OPTIONS sip:director SIP/2.0\r\nCall-ID: abc123@10.1.0.2\r\n\r\n'
      await client.run(['socat', '-u', '-', `UDP:${ipv4}:5061`], sip)
      for (let round = 0; round < 20; round++) {
        for (const connection of connections) await connection.echo('x'.repeat(1000 + round))
      }
      const shell = director.shell()
      await expectSame(director, shell, VIEWS)
      await expectSame(director, shell, ['-Lnc', '-Lnc --persistent-conn', '-Lc'])
      expect((await runOurs(director, ['-Lnc'])).stdout).toMatch(/ESTABLISHED/)
      expect((await runOurs(director, ['-Lnc', '--persistent-conn'])).stdout).toMatch(
        / sip +abc123@10\.1\.0\.2$/m,
      )
      expect((await runOurs(director, ['-Ln', '--stats'])).stdout).toMatch(/:80 +\d+ +[1-9]\d+/)
      for (const connection of connections) await connection.close()
    })
  })
})
