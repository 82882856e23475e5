import { createHash } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import { lockedSpecs, outcomeOf, sizesTable, timesTable, worksTable } from '../../bench/installed.mjs'
import { withSection } from '../../bench/page.mjs'
import { openRegistry } from '../../bench/registry.mjs'

/** The benchmark of the installation: its registry, and the tables that it writes. */

describe('the packages of a lock file', () => {
  test('are named once each, wherever they are installed', () => {
    const lock = {
      packages: {
        '': {},
        'node_modules/b': { version: '2.0.0' },
        'node_modules/@scope/a': { version: '1.0.0-rc.1' },
        'node_modules/b/node_modules/@scope/a': { version: '0.9.0' },
        'node_modules/c/node_modules/b': { version: '2.0.0' },
      },
    }
    expect(lockedSpecs(lock)).toEqual(['@scope/a@0.9.0', '@scope/a@1.0.0-rc.1', 'b@2.0.0'])
  })
})

describe('a package', () => {
  const stderr =
    '(node:7) Warning: old\nfile:///use.mjs:3\n  open()\n  ^\n\nTypeError: no such file\n    at open\n'
  test.each([
    ['works if its program ends well', { status: 0, signal: null, stderr: 'Warning' }, 'yes'],
    ['does not if that crashes', { status: null, signal: 'SIGSEGV', stderr: '' }, 'no: SIGSEGV'],
    ['does not if that throws', { status: 1, signal: null, stderr }, 'no: TypeError: no such file'],
    ['does not if that fails silently', { status: 3, signal: null, stderr: '' }, 'no: status 3'],
  ])('%s', (_, ended, outcome) => {
    expect(outcomeOf(ended)).toBe(outcome)
  })
})

describe('the tables', () => {
  const small = {
    called: 'small',
    coldMs: [900, 1100, 1000],
    warmMs: [500, 400, 600],
    size: { downloaded: 1000, unpacked: 20_001, packages: 1, files: 3 },
    wants: '>=20',
    works: { v20: 'yes', v22: 'yes' },
  }
  const large = {
    called: 'large',
    coldMs: [2000, 3000, 2500],
    warmMs: [1000, 1000, 1000],
    size: { downloaded: 345_678, unpacked: 40_002, packages: 1000, files: 7 },
    wants: undefined,
    works: { v20: 'no: a|b', v22: 'yes' },
  }
  const empty = { ...small, called: 'empty', works: {} }
  const all = [small, large, empty]
  const cells = (table: string): string[][] =>
    table.split('\n').map((line) =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )

  test('of times have both caches, and compare with the first package', () => {
    const [heading, , ...rows] = cells(timesTable(all, small))
    expect(heading).toEqual(['Package', 'npm cache', 'Median', 'Least to most', 'Against small'])
    expect(rows).toHaveLength(6)
    expect(rows[0]).toEqual(['small', 'warm', '0.50 s', '0.40 s to 0.60 s', ''])
    expect(rows[1]).toEqual(['large', 'warm', '1.00 s', '1.00 s to 1.00 s', '2x'])
    expect(rows[4]).toEqual(['large', 'empty', '2.50 s', '2.00 s to 3.00 s', '2.5x'])
  })

  test('of sizes leave out a package that has nothing to use', () => {
    const [, , ...rows] = cells(sizesTable(all, small))
    expect(rows).toEqual([
      ['small', '1 kB', '', '21 kB', '', '1', '3'],
      ['large', '346 kB', '346x', '41 kB', '2x', '1,000', '7'],
    ])
  })

  test('of working packages name each Node', () => {
    const [heading, , ...rows] = cells(worksTable(all))
    expect(heading).toEqual(['Package', 'Is for Node', 'Works in v20', 'Works in v22'])
    expect(rows).toEqual([
      ['small', '>=20', 'yes', 'yes'],
      ['large', 'any', 'no: a\\|b', 'yes'],
    ])
  })
})

describe('the page', () => {
  const page =
    'A\n<!-- one: begin, by hand -->\n1\n<!-- one: end -->\n<!-- two: begin, too -->\n<!-- two: end -->\nB\n'

  test('gets a new section between two comments, and keeps the rest', () => {
    const written = withSection(withSection(page, 'two', '$& 2'), 'one', 'first')
    expect(written).toBe(
      'A\n<!-- one: begin, by hand -->\n\nfirst\n\n<!-- one: end -->\n<!-- two: begin, too -->\n\n$& 2\n\n<!-- two: end -->\nB\n',
    )
    expect(withSection(written, 'one', 'first')).toBe(written)
  })

  test.each(['', 'A\n<!-- one: end -->\n', page.replace('<!-- one: end -->', '')])(
    'is not written without both comments (%j)',
    (text) => {
      expect(() => withSection(text, 'one', 'first')).toThrow(
        /^docs\/performance\.md lacks <!-- one: begin, \.\.\. --> or <!-- one: end -->$/,
      )
    },
  )
})

describe('the registry', () => {
  const packages = ['1.0.0', '1.1.0'].map((version) => ({
    manifest: { name: '@scope/thing', version, dependencies: { other: '^1.0.0' } },
    content: Buffer.from(`a tarball of ${version}`),
  }))
  let close = (): void => undefined
  afterEach(() => {
    close()
  })

  test('describes each version as npm expects, and has the tarballs that it names', async () => {
    const registry = await openRegistry(packages)
    close = registry.close
    const answer = await fetch(`${registry.url}/@scope%2fthing`)
    const { versions, ...rest } = (await answer.json()) as {
      versions: Record<string, { dependencies: object; dist: { tarball: string; integrity: string } }>
    }
    expect(rest).toEqual({ name: '@scope/thing', 'dist-tags': { latest: '1.1.0' } })
    expect(Object.keys(versions)).toEqual(['1.0.0', '1.1.0'])
    const { dependencies, dist } = versions['1.0.0']!
    expect(dependencies).toEqual({ other: '^1.0.0' })
    const content = Buffer.from(await (await fetch(dist.tarball)).arrayBuffer())
    expect(content.toString()).toBe('a tarball of 1.0.0')
    expect(dist.integrity).toBe(`sha512-${createHash('sha512').update(content).digest('base64')}`)
    expect(registry.served).toEqual({ requests: 2, tarballs: 1, tarballBytes: content.length })
  })

  test('has nothing else', async () => {
    const registry = await openRegistry(packages)
    close = registry.close
    for (const name of ['other', '@scope/thing/-/thing-2.0.0.tgz', '%ff']) {
      expect((await fetch(`${registry.url}/${name}`)).status, name).toBe(404)
    }
  })
})
