import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { COMMANDS, createProgram } from '../../lib/cli/program.ts'
import { STATUS } from '../../lib/cli/exit-status.ts'
import { buildOnce } from '../../scripts/build-once.mjs'

const file = join(buildOnce('package'), 'dist/man/ipvs.1')
const page = readFileSync(file, 'utf8')
/** As a reader sees its words. */
const text = page
  .replaceAll(/\\f[BIR]/g, '')
  .replaceAll('\\-', '-')
  .replaceAll('\\(aq', "'")
  .replaceAll('\\(dq', '"')
  .replaceAll('\\(ti', '~')
  .replaceAll('\\e', '\\')

describe('man ipvs', () => {
  test('names the variables and files of the history and of the lock', () => {
    for (const name of [
      'IPVS_HISTORY',
      'STATE_DIRECTORY',
      'XDG_STATE_HOME',
      '/var/lib/ipvs/history',
      '/run/ipvs',
    ])
      expect(text).toContain(name)
  })

  test.each(createProgram().commands.map((command) => [command.name(), command] as const))(
    'describes %s with its options',
    (name, command) => {
      const [, section = ''] = text.split(new RegExp(`^\\.SS ipvs ${name}\\b`, 'm'))
      expect(section.replaceAll('\n', ' ')).toContain(command.description())
      const [own = ''] = section.split(/^\.S[HS] /m)
      const [, forAll = ''] = text.split('.SH OPTIONS\n')
      for (const { flags } of command.options) expect(own + forAll).toContain(`\n${flags}\n`)
    },
  )

  test('has the examples of the help, exit statuses and variables', () => {
    for (const { examples } of COMMANDS)
      for (const example of examples) expect(text).toContain(`\n${example}\n`)
    for (const status of Object.values(STATUS).filter((one) => one < 128))
      expect(text).toContain(`\n.TP\n${String(status)}\n`)
    for (const variable of ['IPVS_MEMORY', 'IPVS_ADDON', 'NO_COLOR'])
      expect(text).toContain(`\n${variable}\n`)
  })

  test('has the version of the package, and no date', () => {
    const { version } = JSON.parse(readFileSync(join(buildOnce('package'), 'package.json'), 'utf8')) as {
      version: string
    }
    expect(page).toContain(`.TH IPVS 1 "" "ipvs ${version}" "User Commands"\n`)
  })

  test('is in a list of package.json: npm links no other on a global installation', () => {
    const { man } = JSON.parse(readFileSync(join(buildOnce('package'), 'package.json'), 'utf8')) as {
      man: unknown
    }
    expect(man).toEqual(['./dist/man/ipvs.1'])
  })

  const groff = spawnSync('groff', ['--version']).status === 0
  if (!groff) console.log('groff is missing: the man page is not formatted')

  test.skipIf(!groff)('is formatted without a warning', () => {
    const { status, stdout, stderr } = spawnSync('groff', ['-man', '-ww', '-Tutf8', '-rLL=78n', file], {
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toContain("run the kernel's load balancer, IPVS")
  })
})
