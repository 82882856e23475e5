import { describe, expect, test } from 'vitest'
import { createMemoryKernel } from '../../lib/testing.ts'
import { runOurs, wordsOf } from '../helpers/adm-programs.ts'

/** What `ipvs adm` does on purpose that ipvsadm does not: docs/ipvsadm.md, "Differences". */

const NO_COMMAND = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"

async function saved(kernel: ReturnType<typeof createMemoryKernel>): Promise<string> {
  return (await runOurs(kernel, ['-Sn'])).stdout
}

describe('an alias of the option library', () => {
  test.each<[string, number, string]>([
    ["-A -t '10.0.0.1:!#:+' 80", 2, 'illegal virtual server address[:port] specified\n'],
    ["-A -t 10.0.0.1:80 -s '!#:+'", 255, 'Scheduler or persistence engine not found\n'],
    ["-A -t '10.0.0.1:!#:+' -n", 2, 'illegal virtual server address[:port] specified\n'],
  ])('is a word like any other: %s', async (line, status, stderr) => {
    const kernel = createMemoryKernel()
    expect(await runOurs(kernel, wordsOf(line))).toEqual({ status, stdout: '', stderr })
    expect(await saved(kernel)).toBe('')
  })
})

describe('a restore', () => {
  test.each(['  ', '\t\r', ' '])('does a last line that ends in blanks: %j', async (blanks) => {
    const kernel = createMemoryKernel()
    const { status, stderr } = await runOurs(kernel, ['-R'], `-A -t 10.0.0.1:80 -s rr${blanks}`)
    expect([status, stderr]).toEqual([0, ''])
    expect(await saved(kernel)).toBe('-A -t 10.0.0.1:80 -s rr\n')
  })

  test('takes a word of more than 4,096 bytes for one', async () => {
    const word = 'x'.repeat(40_000)
    const { status, stderr } = await runOurs(createMemoryKernel(), ['-R'], `-A -t 10.0.0.1:80 ${word}\n`)
    expect(status).toBe(2)
    expect(stderr).toContain(`unexpected argument ${word}\n`)
  })

  test.each(['-n', '-e', '-E', '-nE'])('by ipvsadm-restore reads the line %s', async (line) => {
    const kernel = createMemoryKernel()
    const { status, stderr } = await runOurs(kernel, [], `${line}\n`, { program: 'ipvsadm-restore' })
    expect(stderr).toContain(`  in line 1: ${line}\n`)
    const edits = line === '-e' || line === '-E'
    expect(status).toBe(edits ? 2 : 255)
    expect(stderr).toContain(edits ? "You need to supply the 'service-address' option" : NO_COMMAND)
  })

  test('by ipvsadm-restore numbers lines as the input does, comments among them', async () => {
    const input = '# a table\n-A -t 10.0.0.1:80\n#\n-A -t 10.0.0.1:80\n'
    const { stderr } = await runOurs(createMemoryKernel(), [], input, { program: 'ipvsadm-restore' })
    expect(stderr).toBe('Service already exists\n  in line 4: -A -t 10.0.0.1:80\n')
  })
})
