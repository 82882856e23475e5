import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { ROOT } from '../docs/markdown.ts'
import { buildLibrary } from '../helpers/built-library.ts'

/**
 * What people see: the built command in a real terminal, which `script` of util-linux makes. The screens are files in
 * screens/, and `cat` shows those in colour as they are. `npx vitest run --project system test/cli/screens -u` writes them.
 */

const SCREENS = fileURLToPath(new URL('screens', import.meta.url))
const { folder } = buildLibrary()
const work = mkdtempSync(join(tmpdir(), 'ipvs-screens-'))

afterAll(() => {
  rmSync(work, { recursive: true })
})

const LINES = [
  'list',
  'list --stats',
  'list --rates',
  'show tcp/192.0.2.10:80',
  'show tcp/[2001:db8:1234:5678:9abc:def0:1234:5678]:65535',
]

const there = spawnSync('script', ['--version']).status === 0
const required = (process.env.IPVS_REQUIRE ?? '').split(',').includes('script')
if (!there) console.log('script of util-linux is missing: no screens are made')

/** Runs a program in a terminal of its own. Gives what it wrote there. */
function inTerminal(
  columns: number,
  words: readonly string[],
  env: Readonly<Record<string, string>>,
): string {
  const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  const { status, stdout, stderr } = spawnSync(
    'script',
    [
      '--quiet',
      '--return',
      '--command',
      `stty cols ${String(columns)} rows 24 && exec ${quoted}`,
      '/dev/null',
    ],
    { env: { PATH: process.env.PATH, TERM: 'xterm', ...env }, input: '', encoding: 'utf8' },
  )
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout.replaceAll('\r\n', '\n')
}

function screen(columns: number, lines: readonly string[], env: Readonly<Record<string, string>>): string {
  return inTerminal(columns, [process.execPath, join(SCREENS, 'program.mjs'), folder, ...lines], env)
}

function widest(text: string): number {
  const shown = text.replaceAll(/\u001B\[\d+m/g, '').split('\n')
  return Math.max(...shown.filter((line) => !line.startsWith('$ ')).map(({ length }) => length))
}

describe.skipIf(!there && !required)('on a terminal', () => {
  describe.each([80, 100, 120])('of %i columns', (columns) => {
    test.each([
      ['plain', { LANG: 'C.UTF-8', NO_COLOR: '1' }],
      ['ascii', { LANG: 'C', NO_COLOR: '1' }],
      ['color', { LANG: 'C.UTF-8' }],
    ])('lists and shows: %s', async (name, env) => {
      const shown = screen(columns, LINES, env)
      expect(widest(shown)).toBeLessThanOrEqual(columns)
      if (name !== 'color') expect(shown).not.toContain('\u001B')
      if (name === 'ascii') expect(shown).toMatch(/^[\x00-\x7F]*$/)
      await expect(shown).toMatchFileSnapshot(join(SCREENS, `${name}-${String(columns)}.txt`))
    })
  })

  test('is in docs/command.md as it is', () => {
    const [shown = ''] = readFileSync(join(SCREENS, 'plain-80.txt'), 'utf8').split('\n\n$ ipvs list --stats')
    expect(readFileSync(join(ROOT, 'docs/command.md'), 'utf8')).toContain(`\`\`\`text\n${shown}\n\`\`\`\n`)
  })

  test('has everything with --wide', async () => {
    const shown = screen(80, ['list --wide', 'list --stats --wide', 'show tcp/192.0.2.10:80 --wide'], {
      LANG: 'C.UTF-8',
      NO_COLOR: '1',
    })
    expect(widest(shown)).toBeGreaterThan(80)
    await expect(shown).toMatchFileSnapshot(join(SCREENS, 'wide.txt'))
  })

  test('is what the program shows of the table in a file', () => {
    const file = join(work, 'table.json')
    const service = { protocol: 'tcp', address: '192.0.2.10', port: 80 }
    const realServers = [{ address: '10.0.0.7', port: 8080, method: 'masquerade' }]
    writeFileSync(file, JSON.stringify({ services: [{ ...service, realServers }] }))
    const env = { LANG: 'C.UTF-8', NO_COLOR: '1', IPVS_MEMORY: file }
    const shown = inTerminal(80, [process.execPath, join(folder, 'dist/cli/ipvs.cjs'), 'list'], env)
    expect(shown.split('\n').slice(1)).toEqual([
      'SERVICE            SCHEDULER',
      '  SERVER           METHOD      WEIGHT              ACTIVE              INACTIVE',
      'tcp/192.0.2.10:80  wlc              1                   0                     0',
      '  10.0.0.7:8080    masquerade       1  ██████████       0                     0',
      '',
    ])
  })
})
