import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Ipvs } from '../../lib/index.ts'
import { createMemoryKernel, type MemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

let folder: string
let kernel: MemoryKernel

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-completion-'))
  writeFileSync(
    join(folder, 'table.yaml'),
    'services: [{ protocol: fwmark, fwmark: 9, realServers: [{ address: 10.0.0.9, weight: 3 }] }]\n',
  )
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

beforeEach(async () => {
  kernel = createMemoryKernel()
  const table = await Ipvs.open({ transport: kernel })
  await table.restore(`-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.7:8080 -m -w 2
-A -t [2001:db8::1]:443 -s wlc
-A -f 5 -s sh
`)
  await table.close()
})

/** The candidates for the last word, without what is said of them. */
async function candidates(...words: string[]): Promise<string[]> {
  const { status, stdout, stderr } = await ipvs(['__complete', '--', ...words], { kernel })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t')[0] ?? '')
}

describe('candidates', () => {
  test('are commands at first', async () => {
    expect(await candidates('')).toEqual([
      ...[
        'list',
        'show',
        'info',
        'save',
        'restore',
        'check',
        'plan',
        'apply',
        'reconcile',
        'diff',
        'drain',
        'history',
        'undo',
        'completion',
        'adm',
      ],
      ...['guest', 'help'],
    ])
    expect(await candidates('d')).toEqual(['diff', 'drain'])
    expect(await candidates('--v')).toEqual(['--version'])
    expect(await candidates()).toContain('list')
  })

  test.each([
    [
      'options of a command',
      ['list', '--'],
      ['--json', '--netns', '--memory', '--stats', '--rates', '--help'],
    ],
    ['options that begin so', ['apply', 'x', '--m'], ['--memory', '--max-deletions']],
    ['choices of an option', ['save', '--format', ''], ['json', 'yaml', 'ipvsadm']],
    ['choices behind a =', ['save', '--format=y'], ['--format=yaml']],
    ['choices of a list', ['apply', '--allow', 'add-s'], ['add-service', 'add-server']],
    ['choices behind a comma', ['apply', '--allow', 'add-service,stop'], ['add-service,stop-daemon']],
    ['both', ['apply', '--allow=stop-daemon,set-t'], ['--allow=stop-daemon,set-timeouts']],
    ['choices of an argument', ['completion', 'z'], ['zsh']],
    ['services', ['show', ''], ['tcp/192.0.2.10:80', 'tcp/[2001:db8::1]:443', 'fwmark/5']],
    ['services that begin so', ['show', 'tcp/19'], ['tcp/192.0.2.10:80']],
    ['services after options', ['drain', '--timeout', '5', '--json', 'f'], ['fwmark/5']],
    ['servers of the service', ['drain', 'tcp/192.0.2.10:80', ''], ['10.0.0.7:8080']],
    ['no servers of a service that is not there', ['drain', 'tcp/192.0.2.99:80', ''], []],
    ['no servers of what is no service', ['drain', 'web', ''], []],
    ['commands whose help is wanted', ['help', 'd'], ['diff', 'drain']],
    ['nothing more', ['show', 'fwmark/5', ''], []],
    ['nothing where a number is wanted', ['drain', '--timeout', ''], []],
    ['nothing of a command that is not there', ['lst', ''], []],
    ['files', ['plan', ''], [':files']],
    ['files as the value of an option', ['list', '--memory', ''], [':files']],
    ['files and the table', ['diff', 'a.json', ''], ['live', ':files']],
    ['files alone', ['diff', 'a'], [':files']],
  ])('are %s', async (_, words, expected) => {
    expect((await candidates(...words)).sort()).toEqual([...expected].sort())
  })

  test('come from the table that the words before choose', async () => {
    const path = join(folder, 'table.yaml')
    expect(await candidates('show', '--memory', path, '')).toEqual(['fwmark/9'])
    expect(await candidates('drain', `--memory=${path}`, 'fwmark/9', '')).toEqual(['10.0.0.9:0'])
  })

  test('are told with what they are', async () => {
    const { stdout } = await ipvs(['__complete', '--', 'drain', 'tcp/192.0.2.10:80', ''], { kernel })
    expect(stdout).toBe('10.0.0.7:8080\tweight 2\n')
  })

  test('are none, without an error, where the table cannot be read', async () => {
    kernel.privileged = false
    expect(await candidates('show', '')).toEqual([])
  })
})

test.each(['bash', 'zsh', 'fish'])('%s gets a script', async (shell) => {
  const { status, stdout, stderr } = await ipvs(`completion ${shell}`)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain(`ipvs completion ${shell}`)
})
