import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { buildLibrary, installInto } from './helpers/built-library.ts'

/** The demo in memory, with the library as it is built and without an addon. The demo in the guest is a command of CI. */

const PLATFORM = new URL('helpers/platform.mjs', import.meta.url).href

const run = promisify(execFile)
const project = mkdtempSync(join(tmpdir(), 'ipvs-demo-'))
installInto(project, buildLibrary({ addon: false }))
cpSync(fileURLToPath(new URL('../demo', import.meta.url)), join(project, 'demo'), { recursive: true })
// The networks, which the demo shares with the tests.
for (const file of ['cables.mjs', 'topologies.mjs'])
  cpSync(fileURLToPath(new URL(`traffic/${file}`, import.meta.url)), join(project, 'test/traffic', file))
afterAll(() => {
  rmSync(project, { recursive: true })
})

function demo(args: readonly string[], platform: string): Promise<{ stdout: string; stderr: string }> {
  const program = join(project, 'demo/demo.mjs')
  return run(process.execPath, ['--import', PLATFORM, program, ...args], {
    env: { ...process.env, IPVS_TEST_PLATFORM: platform, FORCE_COLOR: '0' },
  })
}

describe('npm run demo -- --memory', () => {
  test.each(['darwin', 'win32', 'linux'])(
    'tells its story on %s, and that no Linux does it',
    async (platform) => {
      const { stdout, stderr } = await demo(['--memory'], platform)
      expect(stderr).toBe('')
      expect(stdout).toContain('THIS IS THE IN-MEMORY KERNEL, NOT LINUX')
      const promises = stdout.split('\n').filter((line) => line.startsWith('  ✔'))
      expect(promises).toHaveLength(10)
      expect(promises).toContain('  ✔ A answered 30 and B 10')
      expect(promises).toContain('  ✔ The kernel has only B left, and counted the same')
      expect(stdout).toMatch(/checked as it happened, in [\d.]+ s, on the in-memory kernel\.\n/)
    },
  )
})

describe('npm run demo', () => {
  test.each([[['--nowhere']], [['--here', '--memory']]])('refuses %j with its usage', async (args) => {
    await expect(demo(args, 'linux')).rejects.toMatchObject({
      code: 2,
      stdout: expect.stringContaining('--memory') as string,
    })
  })

  test('on this machine itself takes Linux', async () => {
    await expect(demo(['--here'], 'darwin')).rejects.toMatchObject({
      code: 1,
      stdout: expect.stringContaining('it takes Linux, and this is darwin') as string,
    })
  })
})
