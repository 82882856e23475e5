import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdtempSync,
  promises,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { openMemory } from '../../lib/cli/memory.ts'
import { systemNames } from '../../lib/cli/names.ts'
import { ipvs, type Said } from './terminal.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-memory-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true })
})

function file(name: string, text?: string): string {
  const path = join(folder, name)
  if (text !== undefined) writeFileSync(path, text)
  return path
}

const note = (path: string): string =>
  `ipvs: in-memory kernel with the table of ${path}; no real kernel is touched\n`

const STATE = `services:
  - { protocol: tcp, address: 192.0.2.10, port: 80, scheduler: rr, realServers: [{ address: 10.0.0.7 }] }
`

/** The same with another real server, so that the first can go. */
const TWO = STATE.replace('[{', '[{ address: 10.0.0.8 }, {')

/** No kernel is opened: that would be an error here. */
function run(line: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Said> {
  return ipvs(line, { env })
}

describe('--memory', () => {
  test('is a kernel with the table of a file, and says so', async () => {
    const path = file('table.yaml', STATE)
    const { status, stdout, stderr } = await run(['show', 'tcp/192.0.2.10:80', '--memory', path])
    expect({ status, stderr }).toEqual({ status: 0, stderr: note(path) })
    expect(stdout).toContain('  10.0.0.7:80  direct ')
  })

  test('leaves the file alone as long as nothing changes', async () => {
    const path = file('table.yaml', `# mine\n${STATE}`)
    for (const line of ['list', 'info', 'save', 'plan', 'apply']) {
      const [command = ''] = line.split(' ')
      const args = ['plan', 'apply'].includes(command) ? [file('same.yaml', STATE)] : []
      expect(await run([command, ...args, '--memory', path])).toMatchObject({ status: 0 })
    }
    expect(readFileSync(path, 'utf8')).toBe(`# mine\n${STATE}`)
  })

  test('leaves the file alone where a change was undone, or changed nothing', async () => {
    const path = file('table.yaml', `# mine\n${STATE}`)
    const refused = file('refused.yaml', STATE.replace('10.0.0.7', '10.0.0.8').replace('rr', 'nosuch'))
    expect(await run(['apply', refused, '--yes', '--memory', path])).toMatchObject({ status: 8 })
    expect(readFileSync(path, 'utf8')).toBe(`# mine\n${STATE}`)
  })

  test('writes what a command changed, in the form that the file has', async () => {
    const wanted = file('wanted.yaml', STATE.replace('rr', 'wlc').replace('10.0.0.7', '10.0.0.8'))
    const forms: Readonly<Record<string, RegExp>> = {
      'table.json': /^\{\n {2}"version": 1,\n[^]*"scheduler": "wlc",[^]*"10\.0\.0\.8"/,
      'table.yaml': /^version: 1\nservices:\n[^]*scheduler: wlc\n[^]*10\.0\.0\.8/,
      'table.rules': /^-A -t 192\.0\.2\.10:80 -s wlc\n-a -t 192\.0\.2\.10:80 -r 10\.0\.0\.8:80 -g -w 1\n$/,
      // The end of a name that says nothing.
      table: /^-A -t 192\.0\.2\.10:80 -s wlc\n/,
      'table.txt': /^-A -t 192\.0\.2\.10:80 -s wlc\n/,
    }
    const lines = '# mine\n\n-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -g -w 1\n'
    const json = (await run(['save', '--no-timeouts', '--memory', file('a.yaml', STATE)])).stdout
    const texts: Readonly<Record<string, string>> = {
      'table.json': json,
      'table.yaml': STATE,
      'table.txt': `ipvsadm\n${lines}`,
    }
    for (const [name, form] of Object.entries(forms)) {
      const path = file(name, texts[name] ?? lines)
      const { status, stderr } = await run(['apply', wanted, '--yes', '--memory', path])
      expect({ status, stderr }).toEqual({ status: 0, stderr: note(path) })
      expect(readFileSync(path, 'utf8')).toMatch(form)
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
  })

  test.each([['new.json'], ['new.yaml'], ['new']])(
    'makes %s where there is none, once something is in it',
    async (name) => {
      const path = file(name)
      expect(await run(['list', '--memory', path])).toMatchObject({ status: 0 })
      expect(existsSync(path)).toBe(false)
      expect(await run(['apply', file('wanted.yaml', STATE), '--memory', path])).toMatchObject({ status: 0 })
      expect(readFileSync(path, 'utf8')).toMatch(name === 'new.yaml' ? /^version: 1\n/ : /^\{/)
      expect((await run(['list', '--memory', path])).stdout).toContain('10.0.0.7:80')
    },
  )

  test('takes an empty file, as mktemp makes it, for an empty table', async () => {
    expect(await run(['list', '--memory', file('empty', '')])).toMatchObject({ status: 0 })
  })

  test('keeps timeouts, sync daemons and sysctls that are not as at the start', async () => {
    const path = file('table.json')
    const state = {
      services: [],
      timeouts: { tcpSeconds: 60 },
      syncDaemons: [{ state: 'backup', multicastInterface: 'ens3', syncId: 7 }],
      sysctls: { conntrack: '1' },
    }
    // A sync daemon on an interface that only the file can tell of.
    writeFileSync(path, JSON.stringify({ ...state, timeouts: {}, sysctls: {} }))
    expect(await run(['apply', file('wanted.json', JSON.stringify(state)), '--memory', path])).toMatchObject({
      status: 0,
    })
    const written = JSON.parse(readFileSync(path, 'utf8')) as object
    expect(written).toMatchObject({
      timeouts: { tcpSeconds: 60, tcpFinSeconds: 120, udpSeconds: 300 },
      syncDaemons: [{ state: 'backup', multicastInterface: 'ens3', syncId: 7 }],
      sysctls: { conntrack: '1' },
    })
    const { stdout } = await run(['save', '--sysctl', 'conntrack', '--memory', path])
    expect(JSON.parse(stdout)).toEqual({ version: 1, ...written })
  })

  test("has a scheduler's sysctl in its file only where it was set", async () => {
    const path = file('table.json')
    const service = { protocol: 'fwmark', fwmark: 1, scheduler: 'lblc' }
    for (const [sysctls, kept] of [
      [{}, undefined],
      [{ lblc_expiration: '60' }, { lblc_expiration: '60' }],
    ] as const) {
      const wanted = file('wanted.json', JSON.stringify({ services: [service], sysctls }))
      expect(await run(['apply', wanted, '--memory', path])).toMatchObject({ status: 0 })
      expect((JSON.parse(readFileSync(path, 'utf8')) as { sysctls?: object }).sysctls).toEqual(kept)
    }
  })

  test('writes what drain has deleted', async () => {
    const path = file('table.yaml', TWO)
    const drained = await run(['drain', 'tcp/192.0.2.10:80', '10.0.0.7', '--memory', path])
    expect(drained).toMatchObject({ status: 0 })
    expect(readFileSync(path, 'utf8')).not.toContain('10.0.0.7')
  })

  test('is chosen by IPVS_MEMORY too; the option comes first', async () => {
    const [one, other] = [file('one.yaml', STATE), file('other.yaml', STATE.replace('10.0.0.7', '10.0.0.8'))]
    expect((await run(['list'], { IPVS_MEMORY: one })).stdout).toContain('10.0.0.7:80')
    const both = await run(['list', '--memory', other], { IPVS_MEMORY: one })
    expect(both.stdout).toContain('10.0.0.8:80')
    expect(both.stderr).toBe(note(other))
  })

  test.each([
    [
      'a file that is no state',
      'services: 7\n',
      /table: line 1, column \d+: services must be a list|table: line 1/,
    ],
    [
      'a table that the kernel does not take',
      STATE.replace('rr', 'nosuch'),
      /table cannot be loaded into the in-memory kernel: .*ENOENT/,
    ],
  ])('refuses %s', async (_, text, said) => {
    const path = file('table', text)
    const { status, stdout, stderr } = await run(['list', '--memory', path])
    expect({ status, stdout }).toEqual({ status: 7, stdout: '' })
    expect(stderr).toMatch(said)
    expect(readFileSync(path, 'utf8')).toBe(text)
  })

  test('refuses a folder that is not there, and a link, when it has something to write', async () => {
    const wanted = file('wanted.yaml', STATE)
    const nowhere = await run(['apply', wanted, '--memory', file('no/such/folder.json')])
    expect(nowhere.status).toBe(7)
    expect(nowhere.stderr).toContain('cannot write')
    expect(nowhere.stdout).not.toContain('Done: ')
    symlinkSync(file('target.json', '{"services": []}'), file('link.json'))
    const link = await run(['apply', wanted, '--memory', file('link.json')])
    expect(link.status).toBe(7)
    expect(link.stderr).toContain('symbolic link')
  })

  test('does not write over what something else writes just before it does', async () => {
    const path = file('table.yaml', TWO)
    const { open } = promises
    vi.spyOn(promises, 'open').mockImplementation(async (name, ...args) => {
      if (String(name).endsWith('.tmp')) writeFileSync(path, `# theirs\n${STATE}`)
      return open(name, ...args)
    })
    const { status, stderr } = await run(['drain', 'tcp/192.0.2.10:80', '10.0.0.7', '--memory', path])
    expect(status).not.toBe(0)
    expect(stderr).toContain(`${path} was changed by something else meanwhile, and was not written`)
    expect(readFileSync(path, 'utf8')).toBe(`# theirs\n${STATE}`)
    expect(readdirSync(folder)).toEqual(['table.yaml'])
  })

  test('does not take two states of a file for one', async () => {
    const path = file('table.yaml', STATE)
    const { open } = promises
    let opened = 0
    vi.spyOn(promises, 'open').mockImplementation(async (name, ...args) => {
      if (name === path && (opened += 1) === 2) writeFileSync(path, `# theirs\n${STATE}`)
      return open(name, ...args)
    })
    await expect(openMemory(path, systemNames)).rejects.toThrow(
      'was changed by something else while it was read; try again',
    )
  })

  test('waits for no FIFO', async () => {
    const path = file('fifo')
    execFileSync('mkfifo', [path])
    const { status, stderr } = await run(['list', '--memory', path])
    expect(status).toBe(7)
    expect(stderr).toContain(`cannot read ${path}: EINVAL: ${path} is a FIFO`)
  })

  test('does not write over what something else has written meanwhile', async () => {
    const path = file('table.json', '{"services": []}')
    const table = await openMemory(path, systemNames)
    const ours = await table.open()
    await ours.addService({ protocol: 'tcp', address: '192.0.2.1', port: 80 })
    await ours.close()
    file('table.json', '{"services": [] }')
    await expect(table.writeBack()).rejects.toThrow('changed by something else')
    expect(readFileSync(path, 'utf8')).toBe('{"services": [] }')
  })
})
