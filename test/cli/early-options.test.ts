import { describe, expect, test } from 'vitest'
import { tableOfEarlyOptions, withEarlyOptions } from '../../lib/cli/early-options.ts'
import { createMemoryKernel } from '../../lib/testing.ts'
import { ipvs } from './terminal.ts'

describe('options before the command', () => {
  test.each<[string, string]>([
    ['--netns blue list --json', 'list --netns blue --json'],
    [
      '--netns=blue --json weight --everywhere 10.0.0.7 0',
      'weight --netns=blue --json --everywhere 10.0.0.7 0',
    ],
    ['--memory table.json show tcp/192.0.2.10:80', 'show --memory table.json tcp/192.0.2.10:80'],
    ['list --netns blue', 'list --netns blue'],
    ['--netns blue help list', 'help list'],
    ['--netns blue --help', '--help'],
    ['--netns blue', ''],
    ['--netns', '--netns'],
    ['--stats list', '--stats list'],
  ])('%s is the same as: %s', (line, expected) => {
    expect(withEarlyOptions(line.split(' ')).join(' ')).toBe(expected)
  })

  test.each<[string, object]>([
    ['--netns blue', { netns: 'blue' }],
    ['--netns=blue --json --memory a --netns=green', { netns: 'green', memory: 'a' }],
    ['--memory /a/--netns=blue', { memory: '/a/--netns=blue' }],
    ['--netns= --memory=a=b', { netns: '', memory: 'a=b' }],
    ['--json', {}],
  ])('%s chooses %j', (line, table) => {
    expect(tableOfEarlyOptions(line.split(' '))).toEqual(table)
  })

  test('choose the table and the form, as behind it', async () => {
    const kernel = createMemoryKernel()
    const early = await ipvs('--json list', { kernel })
    expect(early).toEqual(await ipvs('list --json', { kernel }))
    expect(early).toMatchObject({ status: 0 })
    const late = await ipvs('list --netns nosuch', { kernel: 'real' })
    expect(late.status).not.toBe(0)
    expect(await ipvs('--netns nosuch list', { kernel: 'real' })).toEqual(late)
  })

  test('are checked as behind it', async () => {
    for (const line of ['--netns blue list --memory table.json', '--memory table.json --netns blue list']) {
      const { status, stderr } = await ipvs(line)
      expect({ line, status }).toEqual({ line, status: 2 })
      expect(stderr).toContain('cannot be used with option')
    }
    expect(await ipvs('--netns blue completion bash')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("unknown option '--netns'") as unknown,
    })
  })

  test('are known to the completion', async () => {
    const { stdout } = await ipvs(['__complete', '--', '--netns', 'blue', 'li'])
    expect(stdout).toMatch(/^list\t/)
  })
})
