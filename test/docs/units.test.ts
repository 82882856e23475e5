import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { examples, pages, ROOT } from './markdown.ts'

/** The systemd units of docs/examples and of docs/install.md, by systemd's own word. */

const run = promisify(execFile)
const folder = join(ROOT, 'docs/examples')
const units = readdirSync(folder).filter((name) => /\.(service|timer)$/.test(name))

const there = await run('systemd-analyze', ['--version']).then(
  () => true,
  () => false,
)
const required = !['', undefined, 'false', '0'].includes(process.env.CI)
if (!there && !required)
  console.warn('SKIPPED: the systemd units: systemd-analyze is missing (package systemd)')

describe.skipIf(!there && !required)('the systemd units', () => {
  const copies = mkdtempSync(join(tmpdir(), 'ipvs-units-'))
  afterAll(() => {
    rmSync(copies, { recursive: true })
  })
  /** Copies with a program that every machine has: systemd looks for it. */
  const copy = (name: string, change = (text: string): string => text): string => {
    const text = readFileSync(join(folder, name), 'utf8').replaceAll('/usr/bin/ipvs ', '/bin/true ')
    const file = join(copies, name)
    writeFileSync(file, change(text))
    return file
  }
  const verify = async (files: readonly string[]): Promise<string> => {
    const options = { env: { ...process.env, SYSTEMD_UNIT_PATH: `${copies}:` } }
    const { stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', ...files], options)
    return stdout + stderr
  }

  test('are what systemd takes, without a warning', async () => {
    expect(units).toEqual([
      'ipvs-apply.service',
      'ipvs-reconcile.service',
      'ipvs-restore.service',
      'ipvs-save.service',
      'ipvs-save.timer',
    ])
    const said = await verify(units.map((name) => copy(name)))
    expect(said.split('\n').filter((line) => line.includes(copies) || line.includes('ipvs-'))).toEqual([])
  })

  test('would be refused if they were wrong', async () => {
    const wrong = copy('ipvs-restore.service', (text) => text.replace('Type=oneshot', 'Type=onceshot'))
    const said = await verify([wrong]).catch((error: unknown) => (error as { stderr: string }).stderr)
    expect(said).toContain('onceshot')
    copy('ipvs-restore.service')
  })

  test('in docs/install.md are accepted by systemd, without a warning', async () => {
    const all = pages().flatMap((page) => (page.name === 'docs/install.md' ? examples(page, 'ini') : []))
    expect(all).toHaveLength(1)
    for (const { code } of all) {
      expect(code).toContain('ExecStart=/usr/bin/node ')
      const file = join(copies, 'program.service')
      writeFileSync(file, `${code.replace('/usr/bin/node ', '/bin/true ')}\n`)
      const said = await verify([file])
      expect(said.split('\n').filter((line) => line.includes('program.service'))).toEqual([])
    }
  })

  test('run with little to lose: one capability, and no service more exposed than medium', async () => {
    for (const name of units.filter((unit) => unit.endsWith('.service'))) {
      expect(readFileSync(join(folder, name), 'utf8')).toMatch(/^CapabilityBoundingSet=CAP_NET_ADMIN$/m)
      // A threshold of 50 is an exposure of 5.0; it fails above that.
      await run('systemd-analyze', ['security', '--offline=true', '--threshold=50', '--no-pager', copy(name)])
    }
  })
})
