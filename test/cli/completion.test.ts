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
-a -t 192.0.2.10:80 -r 10.0.0.8:8080 -m -w 2
-A -t [2001:db8::1]:443 -s wlc
-A -f 5 -s sh
-a -f 5 -r 10.0.0.8:0 -g -w 3
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
        'add',
        'set',
        'weight',
        'remove',
        'zero',
        'flush',
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
        'doctor',
        'setup',
        'completion',
        'adm',
      ],
      ...['guest', 'help'],
    ])
    expect(await candidates('d')).toEqual(['diff', 'drain', 'doctor'])
    expect(await candidates('--v')).toEqual(['--version'])
    expect(await candidates()).toContain('list')
  })

  test.each([
    [
      'options of a command',
      ['list', '--'],
      ['--json', '--netns', '--memory', '--stats', '--rates', '--wide', '--help'],
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
    ['services for an option', ['doctor', '--service', 'fw'], ['fwmark/5']],
    ['files for an option', ['doctor', '--peer', ''], [':files']],
    ['files to look at', ['doctor', ''], [':files']],
    ['services after options', ['drain', '--timeout', '5', '--json', 'f'], ['fwmark/5']],
    ['servers of the service', ['drain', 'tcp/192.0.2.10:80', ''], ['10.0.0.7:8080', '10.0.0.8:8080']],
    ['no servers of a service that is not there', ['drain', 'tcp/192.0.2.99:80', ''], []],
    ['no servers of what is no service', ['drain', 'web', ''], []],
    ['commands whose help is wanted', ['help', 'd'], ['diff', 'drain', 'doctor']],
    ['nothing more', ['show', 'fwmark/5', ''], []],
    ['nothing where a number is wanted', ['drain', '--timeout', ''], []],
    ['nothing of a command that is not there', ['lst', ''], []],
    ['services for a verb', ['set', 'tcp/'], ['tcp/192.0.2.10:80', 'tcp/[2001:db8::1]:443']],
    [
      'real servers and fields of a service',
      ['set', 'tcp/192.0.2.10:80', ''],
      [
        ...['10.0.0.7:8080', '10.0.0.8:8080', 'scheduler=', 'schedulerFlags=', 'onePacket='],
        ...['persistence=', 'persistence.netmask=', 'persistenceEngine='],
      ],
    ],
    [
      'the other real servers, and fields of these',
      ['set', 'tcp/192.0.2.10:80', '10.0.0.7:8080', ''],
      ['10.0.0.8:8080', 'method=', 'weight=', 'upperThreshold=', 'lowerThreshold=', 'tunnel='],
    ],
    [
      'fields that are not given yet',
      ['set', 'tcp/192.0.2.10:80', '10.0.0.7:8080', '--force', 'weight=5', 'w'],
      [],
    ],
    ['values of a field', ['set', 'tcp/192.0.2.10:80', 'scheduler=wr'], ['scheduler=wrr']],
    [
      'values behind a comma',
      ['add', 'fwmark/6', 'schedulerFlags=flag-3,mh-'],
      ['schedulerFlags=flag-3,mh-fallback', 'schedulerFlags=flag-3,mh-port'],
    ],
    ['values of a server alone', ['add', 'fwmark/5', '10.0.0.7', 'method=d'], ['method=direct']],
    ['no values of a field that is not there', ['set', 'fwmark/5', 'sheduler='], []],
    ['servers that a service has not', ['add', 'tcp/192.0.2.10:80', '10'], ['10.0.0.8:0']],
    ['servers to be removed', ['remove', 'tcp/192.0.2.10:80', '10.0.0.7:8080', ''], ['10.0.0.8:8080']],
    ['servers whose weight changes', ['weight', 'fwmark/5', ''], ['10.0.0.8:0']],
    [
      'machines and servers everywhere',
      ['weight', '--everywhere', '10.0.0.8'],
      ['10.0.0.8', '10.0.0.8:0', '10.0.0.8:8080'],
    ],
    ['fields everywhere', ['set', '--everywhere', '10.0.0.8', 'wei'], ['weight=']],
    ['services whose counters become zero', ['zero', 'f'], ['fwmark/5']],
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
    const { stdout } = await ipvs(['__complete', '--', 'drain', 'fwmark/5', ''], { kernel })
    expect(stdout).toBe('10.0.0.8:0\tweight 3\n')
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
