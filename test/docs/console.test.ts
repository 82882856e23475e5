import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { installCommand } from '../helpers/installed-command.ts'
import { call, historyIn, isPlain, run, stepsOf } from './console.ts'
import { pages } from './markdown.ts'

/** The commands in the documentation print what stands below them. test/kernel runs those of ipvsadm on a real kernel too. */

const command = installCommand()

describe.each(pages().filter((page) => stepsOf(page).length > 0))('$name', (page) => {
  const before = process.cwd()
  let folder: string

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipvs-docs-'))
    process.chdir(folder)
  })
  afterAll(() => {
    process.chdir(before)
    rmSync(folder, { recursive: true })
  })

  test.each(stepsOf(page))('$place: $command', async (step) => {
    const file = join(folder, 'table.json')
    const said = isPlain(step)
      ? await call(step, file)
      : run(step, folder, { ...command.env, ...historyIn(folder), IPVS_MEMORY: file })
    expect(said).toBe(step.output)
  })
})

/** Each command of ipvsadm but those of its help and of sync daemons, which want an interface. */
const COMMANDS = ['-A', '-E', '-D', '-C', '-a', '-e', '-d', '-L', '-Z', '-S', '-R', '--set']

test('docs/ipvsadm.md has every command of the how-tos', () => {
  const page = pages().find(({ name }) => name === 'docs/ipvsadm.md')
  const found = page === undefined ? [] : stepsOf(page).map(({ command }) => command)
  expect(COMMANDS.filter((option) => !found.some((line) => line.startsWith(`ipvs adm ${option}`)))).toEqual(
    [],
  )
  expect(found.join('\n')).toMatch(/ipvsadm-save .*[^]*ipvsadm-restore /)
})
