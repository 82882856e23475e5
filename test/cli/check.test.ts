import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROOT } from '../docs/markdown.ts'
import { ipvs } from './terminal.ts'

/** No test here has a kernel: to open one would be an error. */

const GOOD = '-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 1\n'
const IGNORED = `services:
  - { protocol: tcp, address: 192.0.2.10, port: 80, realServers: [{ address: 10.0.0.7, port: 8080 }] }
`
const BAD = 'services:\n  - { protocol: tcp, address: 192.0.2.10, port: 70000 }\n'

let folder: string
const file = (name: string): string => join(folder, name)

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipvs-check-'))
  for (const [name, text] of Object.entries({ good: GOOD, 'ignored.yaml': IGNORED, 'bad.yaml': BAD }))
    writeFileSync(file(name), text)
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})

describe('ipvs check', () => {
  test('ends with 0 for a state, whatever its name', async () => {
    expect(await ipvs(['check', file('good')])).toEqual({
      status: 0,
      stdout: `${file('good')}: valid; 1 service, 1 real server\n`,
      stderr: '',
    })
  })

  test('reads standard input', async () => {
    expect(await ipvs('check -', { stdin: GOOD })).toMatchObject({
      status: 0,
      stdout: 'standard input: valid; 1 service, 1 real server\n',
    })
  })

  test('warns of what the kernel ignores', async () => {
    const { status, stdout, stderr } = await ipvs(['check', file('ignored.yaml')])
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: `${file('ignored.yaml')}: valid; 1 service, 1 real server, 1 warning\n`,
    })
    expect(stderr).toContain('warning: tcp/192.0.2.10:80 -> 10.0.0.7:8080: port 8080 is ignored')
  })

  test('checks all files, and ends with 7 if one is not a state or cannot be read', async () => {
    const files = [file('bad.yaml'), file('nowhere'), file('good')]
    const { status, stdout, stderr } = await ipvs(['check', ...files])
    expect({ status, stdout }).toEqual({
      status: 7,
      stdout: `${file('good')}: valid; 1 service, 1 real server\n`,
    })
    expect(stderr).toMatch(
      /bad\.yaml: line 2, .*port must be .*\n.*cannot read .*nowhere: there is no such file/,
    )
  })

  test('prints JSON', async () => {
    const files = [file('ignored.yaml'), file('bad.yaml')]
    const { status, stdout, stderr } = await ipvs(['check', '--json', ...files])
    expect(status).toBe(7)
    expect(JSON.parse(stdout)).toMatchObject({
      files: [
        { file: files[0], valid: true, services: 1, realServers: 1, warnings: [{ code: 'port-ignored' }] },
        { file: files[1], valid: false, message: expect.stringContaining('70000') as string },
      ],
    })
    expect(JSON.parse(stderr)).toMatchObject({ error: { status: 7 } })
  })

  test('refuses a file that may be cut off, unless it is known to be whole', async () => {
    const stdin = GOOD.trimEnd()
    expect(await ipvs('check -', { stdin })).toMatchObject({ status: 7 })
    expect(await ipvs('check - --whole', { stdin })).toMatchObject({ status: 0 })
  })

  test('prints the schema of the package', async () => {
    const { status, stdout } = await ipvs('check --schema')
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toEqual(JSON.parse(readFileSync(join(ROOT, 'state.schema.json'), 'utf8')))
  })

  test.each([
    ['check'],
    ['check --schema a.json'],
    ['check - -'],
    ['check a.json --netns blue'],
    ['check --format xml a'],
  ])('takes %s for a mistake', async (line) => {
    expect(await ipvs(line)).toMatchObject({ status: 2, stdout: '' })
  })
})
