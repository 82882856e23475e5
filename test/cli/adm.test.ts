import { describe, expect, test } from 'vitest'
import { runNamed } from '../../lib/cli/adm/program.ts'
import { systemNames } from '../../lib/cli/names.ts'
import { Ipvs } from '../../lib/index.ts'
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

  describe.each(['ipvsadm', 'ipvsadm-restore'])('by %s has a limit', (program) => {
    const words = program === 'ipvsadm' ? ['-R'] : []

    test.each(['x', '-o ', ' '])('to the length of a line: %j', async (part) => {
      const kernel = createMemoryKernel()
      const line = part.repeat(2 ** 21 / part.length)
      const input = `-A -t 10.0.0.1:80 -s rr\n${line}\n-A -t 10.0.0.2:80\n`
      const { status, stderr } = await runOurs(kernel, words, input, { program })
      expect(stderr).toBe(
        `a line of more than 1048576 characters\n  in line 2: ${line.slice(0, 500).trim()}\n`,
      )
      expect(status).toBe(2)
      // As after any line that cannot be read.
      expect(await saved(kernel)).toBe('-A -t 10.0.0.1:80 -s rr\n')
    })

    test('whether it has an end or not', async () => {
      const { status, stderr } = await runOurs(createMemoryKernel(), words, 'x'.repeat(2 ** 20 + 1), {
        program,
      })
      expect([status, stderr]).toEqual([
        2,
        `a line of more than 1048576 characters\n  in line 1: ${'x'.repeat(500)}\n`,
      ])
    })
  })

  test('by ipvsadm-restore has no limit to the length of a comment', async () => {
    const kernel = createMemoryKernel()
    const input = `#${'x'.repeat(2 ** 21)}\n-A -t 10.0.0.1:80 -s rr\n#${'x'.repeat(2 ** 21)}`
    expect(await runOurs(kernel, [], input, { program: 'ipvsadm-restore' })).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    })
    expect(await saved(kernel)).toBe('-A -t 10.0.0.1:80 -s rr\n')
  })

  test('by ipvsadm-restore has a limit to its input, and keeps the table then', async () => {
    const kernel = createMemoryKernel()
    await runOurs(kernel, ['-A', '-t', '10.0.0.1:80', '-s', 'rr'])
    // The same piece each time, so that it takes no memory.
    const piece = Buffer.alloc(2 ** 24, '\n')
    let pieces = 0
    let stderr = ''
    const status = await runNamed([], {
      program: 'ipvsadm-restore',
      posix: false,
      names: systemNames,
      *input() {
        for (;;) {
          pieces += 1
          yield piece
        }
      },
      out: () => undefined,
      err: (text) => (stderr += text),
      open: () => Ipvs.open({ transport: kernel }),
    })
    expect([status, stderr]).toEqual([
      1,
      'ipvsadm-restore: the input is longer than 268435456 bytes and was not read\n',
    ])
    expect(pieces).toBe(17)
    expect(await saved(kernel)).toBe('-A -t 10.0.0.1:80 -s rr\n')
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
