import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../docs/markdown.ts'
import { admRoom } from './adm.ts'
import { inCommandWords } from '../../lib/cli/words.ts'
import { commandRooms } from './command.ts'
import { doctorRooms } from './doctor.ts'
import { libraryRooms } from './library.ts'
import { allLiterals, blanks, literalsOf, NO_MESSAGES } from './literals.ts'
import { pageOf } from './room.ts'
import { setupRooms } from './setup.ts'
import { textRooms } from './texts.ts'

const { text, messages } = await pageOf([
  ...libraryRooms,
  ...textRooms,
  ...doctorRooms,
  ...setupRooms,
  ...commandRooms,
  admRoom,
])

/** Texts that no unit test can make the library say. */
const UNSAID: Readonly<Record<string, string>> = {
  'the last run failed: ...': 'only systemd hears it; test/cli/reconcile.test.ts listens',
  '..., as ... says': 'only systemd hears it; test/cli/reconcile.test.ts listens',
  ' of network namespace ...': 'the in-memory kernel has one alone; test/kernel/systemd.test.ts has more',
  'the address of ... is not known yet': 'every caller looks the host up, and asks again',
  'while it was read; try again': 'of two reads; test/cli/memory.test.ts changes the file between them',
  'standard input is longer than ... bytes': 'it takes 256 MiB; test/cli/errors.test.ts gives as many',
  'was written to each time it was read; try again later': 'takes a writer that never rests',
  'was replaced, but may be the old one again after a loss of power: its folder was not synced':
    'takes a disk that fails',
  'more than ... tokens': 'it takes seconds to read as many',
  'none of the variables STATE_DIRECTORY, XDG_STATE_HOME and HOME is set': 'root needs none of them',
  '... belongs to another user, with ID ...':
    'only root can make such a file; test/kernel/history.test.ts does',
  'it is longer than ... bytes: save it to a file beforehand': 'it takes 64 MiB',
  'uid ...': 'of a user without a name',
  ' on the real server': 'of a director with a table, which takes a kernel',
  ' on the director': 'of a real server that something else than itself could mend',
  'printf %s "$1" >"$2" && cat "$2"': 'a shell reads it',
  'ip6 ...': 'name of a table of nft',
  'nsenter --net=... -- ...': 'takes a namespace; test/doctor/in-netns.test.ts has these commands',
  'ip netns exec ... ...': 'takes a namespace; test/doctor/in-netns.test.ts has these commands',
  '--... is empty': 'only the process says it; test/cli/bundle.test.ts reads it',
  'it prints what ipvsadm does, and never JSON: leave out --json':
    'only the process says it; test/cli/bundle.test.ts reads it',
  'it was not run': 'takes a shell that does nothing',
  'it printed more than ... bytes': 'it takes 128 MiB',
  'clients in the network of a real server need the interface to that network':
    'the command finds that interface; test/setup does not give it',
  'other programs change the table all the time': 'takes a program that never rests',
  'something else has changed this meanwhile': 'no step of the result of an apply fails without an error',
}

test('docs/messages.md is what the library says', async () => {
  await expect(text).toMatchFileSnapshot('../../docs/messages.md')
})

test('every text of lib/ is in a message', () => {
  const all = messages.map(blanks).join('\n')
  const literals = allLiterals()
  const missing = literals
    .filter((literal) => !Object.hasOwn(UNSAID, literal.text) && !literal.pattern.test(all))
    .map((literal) => `${literal.place}: ${literal.text}`)
  const excusedForNothing = [
    ...Object.keys(NO_MESSAGES).filter((file) => !existsSync(join(ROOT, file))),
    ...Object.keys(UNSAID).filter((text) => !literals.some((literal) => literal.text === text)),
  ]
  expect({ missing, excusedForNothing }).toEqual({ missing: [], excusedForNothing: [] })
})

/** What only a caller of the library can do, in words that no shell has. */
const LIBRARY_WORDS =
  /\w\(\)|\bIpvs\.|`[a-z]+[A-Z]?[a-z]*`|name the format|scope\.\w+\[|\b(onLoss|lookup(Host|Service)|timeoutMs)\b|read the table|new plan/i

/** Messages with such words that the command cannot come to. */
const NOT_OF_THE_COMMAND: readonly RegExp[] = [
  // Misuse of the library by a program.
  /^a (transport|plan|promise)|^pass a transport|^this is not a complete plan|the source of reconcile|dryRun does not|part of the plan/,
  /, got a promise|^the options of|^a fault|must be a function/,
  // The command is part of the package, never of a bundle.
  /^Copy ipvs\.node/,
  // The command closes its table last.
  /open another with Ipvs\.open/,
  // The command always looks names up, and its look-ups give addresses and ports, or nothing.
  /^'\.\.\.' is a (host|service) name: give lookup|^lookup(Host|Service) gave|failed for/,
  // Names of fields in a file.
  /`services: \[\]`|: \[\]`|give `persistence`|no `services`/,
  // The command has options of its own for these.
  /^(timeoutMs|intervalMs|onLoss) must/,
]

test('the command never speaks to callers of the library', () => {
  const left = allLiterals()
    .filter(({ place }) => !place.startsWith('lib/cli/'))
    .map(({ place, text }) => `${place}: ${inCommandWords(text)}`)
    .filter((line) => LIBRARY_WORDS.test(line.replace(/^\S+: /, '')))
    .filter((line) => !NOT_OF_THE_COMMAND.some((known) => known.test(line.replace(/^\S+: /, ''))))
  expect(left).toEqual([])
  const page = text.slice(text.indexOf('## The command line'), text.indexOf('## `ipvs adm`'))
  expect(page.length).toBeGreaterThan(20_000)
  expect(page).not.toMatch(
    /\w\(\)|\bIpvs\.|onLoss|timeoutMs|name the format|scope\.\w+\[|\b(add|edit|delete)(Service|RealServer)\b|\b0 steps\b/,
  )
})

test('a text is found wherever it stands', () => {
  const code = [
    'throw new Error(`${name} must be text, ` + (far ? "got more than wanted" : got))',
    'const WORDS: Record<"no such thing", string> = { "no such thing": "there is none" }',
    'log("debug text", debug("not for people"), "x")',
  ].join('\n')
  const found = literalsOf('a.ts', code)
  expect(found.map(({ place, text }) => `${place} ${text}`)).toEqual([
    'a.ts:1 ... must be text, ',
    'a.ts:1 got more than wanted',
    'a.ts:2 there is none',
    'a.ts:3 debug text',
  ])
  const [first] = found
  expect(first?.pattern.test('TypeError: weight must be text, got 5')).toBe(true)
  expect(first?.pattern.test('TypeError: weight must be a text, got 5')).toBe(false)
})
