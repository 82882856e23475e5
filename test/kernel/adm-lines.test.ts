import { expect, test } from 'vitest'
import { kernelTests, type Netns, withNamespaces } from '../helpers/kernel.ts'
import { Random, chooseSeed } from '../helpers/random.ts'
import { GROUPS } from '../helpers/adm-lines.ts'
import { randomLine } from '../helpers/adm-random.ts'
import type { Shell } from '../helpers/shell.ts'
import { comparable, LINKS } from '../helpers/adm-transcript.ts'
import { runOurs, wordsOf } from '../helpers/adm-programs.ts'
import { cases } from '../helpers/depth.ts'
import { patient } from '../helpers/patience.mjs'

/**
 * The real ipvsadm and ours do the same command lines, each in a network
 * namespace of its own: what they print, how they end and the table they leave
 * must be the same.
 */

/** Two namespaces with an interface that sync daemons can use. */
async function withPair(body: (real: Netns, ours: Netns, shell: Shell) => Promise<void>): Promise<void> {
  await withNamespaces(2, (real, ours) => body(real, ours, real.shell()), { setUp: () => [LINKS, LINKS] })
}

/** All that can be set of a table, a line for each thing. */
async function tableOf({ ipvs }: Netns): Promise<string[]> {
  const [table, timeouts, syncDaemons] = await Promise.all([
    ipvs.snapshot(),
    ipvs.timeouts(),
    ipvs.syncDaemons(),
  ])
  const services = table.map(({ service, realServers }) => JSON.stringify([service, ...realServers]))
  // Where in the list a service stands is decided by a hash, which differs between namespaces.
  return [
    ...services.sort(),
    JSON.stringify(timeouts),
    ...syncDaemons.map((daemon) => JSON.stringify(daemon)),
  ]
}

/** What is in one list and not in the other. */
function without(list: readonly string[], other: readonly string[]): string[] {
  return list.filter((line) => !other.includes(line))
}

/** Whether a command line only reads. Then both read the same table, whose order is that of its namespace. */
function reads([first = '-L']: readonly string[]): boolean {
  return /^(-[LlS]|--list$|--save$)/.test(first)
}

/** Lines that came out differently, in both versions. */
interface Difference {
  readonly line: string
  readonly stdin?: string
  readonly real: unknown
  readonly ours: unknown
}

async function compare(
  lines: readonly { readonly words: readonly string[]; readonly stdin?: string }[],
): Promise<Difference[]> {
  const differences: Difference[] = []
  await withPair(async (real, ours, shell) => {
    for (const [index, { words, stdin }] of lines.entries()) {
      const theirs = comparable(await shell.run(['ipvsadm', ...words], stdin), { words })
      const mine = comparable(
        await runOurs(reads(words) ? real : ours, words, stdin, { piece: 1 + ((index * 7) % 40) }),
        { words },
      )
      const line = words.join(' ')
      const about = { line, ...(stdin !== undefined && { stdin }) }
      if (JSON.stringify(theirs) !== JSON.stringify(mine)) {
        differences.push({ ...about, real: theirs, ours: mine })
      }
      // What reads, or is refused before the kernel is asked, changes nothing; if it did, the next line would show it.
      if (reads(words) || theirs.status === 2) continue
      const [theirTable, myTable] = await Promise.all([tableOf(real), tableOf(ours)])
      if (JSON.stringify(theirTable) !== JSON.stringify(myTable)) {
        differences.push({ ...about, real: without(theirTable, myTable), ours: without(myTable, theirTable) })
        break
      }
    }
    // And as the real one sees both.
    for (const view of ['-Sn', '-Ln --thresholds', '-Ln --tun-info', '-L --timeout', '-L --daemon']) {
      const [theirs, mine] = await Promise.all(
        [real, ours].map((netns) => netns.run(['ipvsadm', ...view.split(' ')])),
      )
      const [theirLines = [], myLines = []] = [theirs, mine].map((text) => text?.split('\n').sort())
      if (theirLines.join('\n') !== myLines.join('\n')) {
        const [real, ours] = [without(theirLines, myLines), without(myLines, theirLines)]
        differences.push({ line: `${view} at the end`, real, ours })
      }
    }
  })
  return differences
}

/** Lines by chance in one table. */
const SEQUENCE = 50
const SEQUENCES = cases(6, 40)
const RESTORES = cases(1, 10)

kernelTests('the same command lines as ipvsadm', () => {
  test('are at least 400', () => {
    expect(GROUPS.reduce((sum, { lines }) => sum + lines.length, 0)).toBeGreaterThan(400)
  })

  test.each(GROUPS)('$title', async ({ lines }) => {
    const all = lines.map((each) =>
      typeof each === 'string' ? { words: wordsOf(each) } : { words: wordsOf(each.line), stdin: each.stdin },
    )
    expect(await compare(all)).toEqual([])
  })

  test(
    `${SEQUENCES} times ${SEQUENCE} lines by chance`,
    { timeout: patient(SEQUENCES * 60_000) },
    async () => {
      const seed = chooseSeed('ipvs adm against ipvsadm')
      for (let sequence = 0; sequence < SEQUENCES; sequence++) {
        const random = new Random(seed + sequence)
        const lines = Array.from({ length: SEQUENCE }, () => randomLine(random))
        expect(await compare(lines), `seed ${seed}, sequence ${sequence}`).toEqual([])
      }
    },
  )

  test(
    `${RESTORES} times ${SEQUENCE} restores by chance`,
    { timeout: patient(RESTORES * 60_000) },
    async () => {
      const seed = chooseSeed('ipvs adm -R against ipvsadm -R')
      for (let sequence = 0; sequence < RESTORES; sequence++) {
        const random = new Random(seed + sequence)
        const restores = Array.from({ length: SEQUENCE }, () => ({
          words: ['-R'],
          stdin: randomRestore(random),
        }))
        expect(await compare(restores), `seed ${seed}, sequence ${sequence}`).toEqual([])
      }
    },
  )
})

/** Lines that change something, or that are wrong: a list would be in the order of its own namespace. */
function randomRestore(random: Random): string {
  const lines = Array.from({ length: 10 }, () => randomLine(random).words)
  return lines
    .filter((words) => !reads(words) && words.length > 0)
    .map((words) => `${words.join(' ')}\n`)
    .join('')
}
