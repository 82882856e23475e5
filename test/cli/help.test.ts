import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { printHelp } from '../../lib/cli/adm/help.ts'
import { COMMANDS, ENVIRONMENT_HELP } from '../../lib/cli/program.ts'
import { ROOT } from '../docs/markdown.ts'
import { ipvs } from './terminal.ts'

/** A help is its sections, with an empty line before each, and then where the documentation is. */
function expectSections(help: string): void {
  const [, page = ''] = /\n\nDocumentation: [^\n]*?(?:and\n {2})?(\/[^\n]+)\n$/.exec(help) ?? []
  expect({ help, exists: existsSync(page) }).toEqual({ help, exists: true })
  const lines = help.split('\n')
  const crowded = lines.filter((line, index) => /^[A-Z][A-Za-z ]*:$/.test(line) && lines[index - 1] !== '')
  // ipvsadm has it below its version.
  expect(crowded.filter((line) => line !== 'Usage:')).toEqual([])
}

describe('the help', () => {
  test.each(['', ...COMMANDS.map(({ name }) => name)])(
    'of ipvs %s ends with where the documentation is',
    async (name) => {
      const { status, stdout } = await ipvs(`${name} --help`.trim())
      expect(status).toBe(0)
      expectSections(stdout)
    },
  )

  test('of ipvs adm does too', () => {
    let help = ''
    printHelp({
      program: 'ipvs adm',
      out: (text) => {
        help += text
      },
    })
    expectSections(help)
  })

  test('of ipvs guest does too', () => {
    expectSections(
      execFileSync(process.execPath, [join(ROOT, 'guest/guest.mjs'), '--help'], { encoding: 'utf8' }),
    )
  })

  test.each(['add', 'set'])('of ipvs %s has the fields before its examples', async (name) => {
    const { stdout } = await ipvs(`${name} --help`)
    expect(stdout).toMatch(
      /\n\nFields of a virtual service:\n[^]*\n\nFields of a real server:\n[^]*\n\nExamples:\n/,
    )
  })

  test('has every variable that chooses where the history is', () => {
    for (const name of ['IPVS_HISTORY', 'STATE_DIRECTORY', 'XDG_STATE_HOME'])
      expect(ENVIRONMENT_HELP).toContain(`\n  ${name} `)
  })
})
