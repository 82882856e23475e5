import { expect, test } from 'vitest'
import { formatState } from '../../lib/index.ts'
import { ipvs } from '../cli/terminal.ts'
import { wordsOf } from '../helpers/adm-programs.ts'
import { kernelTests, type Netns, withNamespace, withNamespaces } from '../helpers/kernel.ts'
import { verbLines } from '../helpers/verb-lines.ts'

/** add, set, weight, remove, zero and flush on the real kernel. What they print is tested in test/cli. */

const LINES = `-A -t 192.0.2.10:80 -s wrr -p 600 -M 255.255.255.0
-a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2 -x 1000 -y 800
-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 1
-A -f 5 -s rr
-a -f 5 -r 10.0.0.7:0 -i -w 3 --tun-type ipip
-a -f 5 -r 10.0.0.9:0 -g -w 1
`

kernelTests('the verbs', () => {
  /** Runs a verb. Gives its status. */
  async function run(netns: Netns, words: readonly string[]): Promise<number> {
    const { status, stderr } = await ipvs([...words, '--netns', netns.name], { kernel: 'real' })
    if (status === 0) expect(stderr).toBe('')
    return status
  }

  /** The table, in an order that does not depend on the namespace. ipvsadm saves no thresholds. */
  async function saved(netns: Netns): Promise<string[]> {
    const state = await netns.ipvs.save({ timeouts: false, syncDaemons: false })
    return (await formatState(state, { format: 'ipvsadm' })).trimEnd().split('\n').sort()
  }

  test('do what the lines of ipvsadm do beside which they are in docs/ipvsadm.md', async () => {
    const rows = verbLines()
    expect(rows.length).toBeGreaterThan(15)
    await withNamespaces(2, async (one, other) => {
      for (const { theirs, ours } of rows) {
        await one.run(['ipvsadm', ...wordsOf(theirs)])
        expect(await run(other, wordsOf(ours)), ours).toBe(0)
        expect(await saved(other), `${theirs} -> ${ours}`).toEqual(await saved(one))
      }
    })
  })

  test('keep what is not named, everywhere', async () => {
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      expect(await run(netns, ['weight', '--everywhere', '10.0.0.7', '0'])).toBe(0)
      const without = LINES.replace(/(10\.0\.0\.7:8080 -m -w) 1/, '$1 0').replace(/(-i -w) 3/, '$1 0')
      const wanted = without.trimEnd().split('\n').sort()
      expect(await saved(netns)).toEqual(wanted)
      // The last live server of a service.
      expect(await run(netns, ['weight', 'tcp/192.0.2.10:80', '10.0.0.8:8080', '0'])).toBe(3)
      expect(await saved(netns)).toEqual(wanted)
    })
  })

  test('wait for one another, and all are done', async () => {
    await withNamespace(async (netns) => {
      await netns.ipvs.addService({ protocol: 'tcp', address: '192.0.2.10', port: 80 })
      const servers = Array.from({ length: 10 }, (_, index) => `10.0.0.${String(index + 1)}`)
      expect(await run(netns, ['add', 'tcp/192.0.2.10:80', ...servers])).toBe(0)
      const ended = await Promise.all(
        servers.map((server) =>
          ipvs(['weight', 'tcp/192.0.2.10:80', server, '7', '--netns', netns.name], { kernel: 'real' }),
        ),
      )
      expect(ended.map(({ status }) => status)).toEqual(servers.map(() => 0))
      expect((await saved(netns)).filter((line) => line.endsWith('-w 7'))).toHaveLength(servers.length)
    })
  })

  test('lose no change of a program that writes to the same service', async () => {
    await withNamespace(async (netns) => {
      await netns.run(['ipvsadm', '-R'], LINES)
      const server = ['-t', '192.0.2.10:80', '-r', '10.0.0.99:80']
      const writer = netns.start([
        'sh',
        '-c',
        `n=0; while [ $n -lt 15 ] && ipvsadm -a ${server.join(' ')} -m -w 7 && ipvsadm -d ${server.join(' ')}; do n=$((n + 1)); done; echo $n`,
      ])
      let said = ''
      writer.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
      const ended = new Promise((resolve) => writer.once('close', resolve))
      let done = 0
      let weight = 0
      while (writer.exitCode === null) {
        weight += 1
        // Where the other is too quick for it, it says so, and has done nothing.
        const status = await run(netns, ['weight', 'tcp/192.0.2.10:80', '10.0.0.7:8080', String(weight)])
        expect([0, 3, 8]).toContain(status)
        if (status === 0) done += 1
      }
      await ended
      // A line of ipvsadm would have failed if its server had been removed, or had come back.
      expect(said).toBe('15\n')
      expect(done).toBeGreaterThan(0)
      expect(await saved(netns)).not.toContainEqual(expect.stringContaining('10.0.0.99'))
    })
  })
})
