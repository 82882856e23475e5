import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { beforeAll, describe, expect, test } from 'vitest'
import { buildOnce } from '../../scripts/build-once.mjs'
import { buildable } from '../../scripts/prebuild.mjs'
import { patient } from '../helpers/patience.mjs'

/** The addons that are published: that each loads with any C library, told from the files. */

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * What an addon may want of the C library: glibc and musl have all of it under these names, and the same types in the
 * memory of x86-64 and 64-bit ARM.
 */
const LIBC = `
  __assert_fail __errno_location __stack_chk_fail abort bind clock_gettime close flock free getsockopt ioctl malloc memchr memcmp
  memcpy memmove memset open poll pthread_create pthread_join pthread_mutex_lock pthread_mutex_unlock pthread_sigmask read
  recvmmsg sendmsg setns setsockopt sigfillset socket strlen strncpy strnlen unshare write`

const PROCESSORS = {
  x64: { machine: 'Advanced Micro Devices X86-64', libc: LIBC, pageBytes: 4096 },
  // Some kernels of 64-bit ARM have pages of 64 KiB.
  arm64: { machine: 'AArch64', libc: `${LIBC} __stack_chk_guard`, pageBytes: 65_536 },
}

const here = buildable()
for (const processor of Object.keys(PROCESSORS).filter((name) => !here.includes(name))) {
  const what = `the addon of linux-${processor}: this machine has no compiler for it (docs/contributing.md)`
  if (process.env.IPVS_REQUIRE?.includes('prebuilds')) test(what, () => expect.fail('IPVS_REQUIRE'))
  else console.error(`\n*** SKIPPED: the tests of ${what}\n`)
}

function readelf(option: string, file: string): string[] {
  const { stdout, stderr } = spawnSync('readelf', ['--wide', option, file], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C' },
  })
  expect(stderr).toBe('')
  return stdout.split('\n')
}

describe('the published addon', () => {
  let folder: string
  beforeAll(() => {
    folder = buildOnce('prebuilds')
  }, patient(120_000))

  describe.each(Object.entries(PROCESSORS).filter(([name]) => here.includes(name)))(
    'of linux-%s',
    (processor, { machine, libc, pageBytes }) => {
      const file = (): string => join(folder, `linux-${processor}/ipvs.node`)
      const symbols = (): { where: string; name: string }[] =>
        readelf('--dyn-syms', file())
          .map((line) => line.trim().split(/\s+/))
          .filter(([number, , , type]) => /^[1-9]\d*:$/.test(number ?? '') && type !== 'SECTION')
          .map(([, , , , , , where = '', name = '']) => ({ where, name }))

      test('is for that processor', () => {
        expect(readelf('--file-header', file()).join('\n')).toMatch(new RegExp(`Machine: +${machine}$`, 'm'))
      })

      test('needs no library, and no version of a symbol', () => {
        const dynamic = readelf('--dynamic', file()).join('\n')
        expect(dynamic).toMatch(/\(SYMTAB\)/)
        expect(dynamic).not.toMatch(/\((NEEDED|VERNEED|VERSYM|RPATH|RUNPATH|SONAME)\)/)
      })

      test('wants only what each C library has, and Node-API 8', () => {
        const { symbols: api } = createRequire(import.meta.url)('node-api-headers') as {
          symbols: { v8: { js_native_api_symbols: string[]; node_api_symbols: string[] } }
        }
        const allowed = new Set([
          ...libc.trim().split(/\s+/),
          ...api.v8.js_native_api_symbols,
          ...api.v8.node_api_symbols,
        ])
        const wanted = symbols().flatMap(({ where, name }) => (where === 'UND' ? name : []))
        expect(wanted).toContain('napi_define_class')
        expect(wanted.filter((name) => !allowed.has(name))).toEqual([])
      })

      test('defines what Node looks up, and nothing else', () => {
        const defined = symbols().flatMap(({ where, name }) => (where === 'UND' ? [] : name))
        expect(defined.sort()).toEqual(['napi_register_module_v1', 'node_api_module_get_api_version_v1'])
      })

      test('has no executable stack, no code that is written to, and is bound when it is loaded', () => {
        const segments = readelf('--program-headers', file()).map((line) => line.trim().split(/\s{2,}/))
        const flags = (type: string): string[] =>
          segments.filter(([name]) => name?.split(' ')[0] === type).map((line) => line.join(' '))
        expect(flags('GNU_STACK')).toEqual([expect.stringMatching(/ RW\b(?!E)/)])
        expect(flags('GNU_RELRO')).toHaveLength(1)
        const loaded = flags('LOAD')
        expect(loaded.filter((line) => line.includes(' R E '))).toHaveLength(1)
        expect(loaded.filter((line) => /W ?E/.test(line))).toEqual([])
        const dynamic = readelf('--dynamic', file()).join('\n')
        expect(dynamic).not.toMatch(/TEXTREL/)
        expect(dynamic).toMatch(/\bBIND_NOW\b/)
      })

      test('fits the largest pages of the processor', () => {
        const loaded = readelf('--program-headers', file()).filter((line) => /^\s*LOAD\b/.test(line))
        expect(loaded.length).toBeGreaterThan(1)
        for (const line of loaded) {
          expect(Number(line.trim().split(/\s+/).at(-1)), line).toBeGreaterThanOrEqual(pageBytes)
        }
      })

      test('is small, and tells nothing of the machine that built it', () => {
        const content = readFileSync(file())
        expect(statSync(file()).size).toBeLessThan(180_000)
        expect(gzipSync(content, { level: 9 }).length).toBeLessThan(60_000)
        expect(content.includes(ROOT.replace(/\/$/, ''))).toBe(false)
        expect(content.includes('/home/')).toBe(false)
        expect(readelf('--sections', file()).join('\n')).not.toMatch(/\.(symtab|debug)/)
      })
    },
  )

  test(
    'has the same bytes when it is built elsewhere, by another user, at another time',
    () => {
      const elsewhere = mkdtempSync(join(tmpdir(), 'ipvs prebuild '))
      try {
        const source = join(elsewhere, 'another/source')
        mkdirSync(source, { recursive: true })
        for (const name of ['native', 'scripts']) {
          cpSync(join(ROOT, name), join(source, name), {
            recursive: true,
            filter: (path) => !path.includes('native/build'),
          })
        }
        symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'))
        const built = join(elsewhere, 'built')
        // A header that compilers would take before their own.
        const poison = join(elsewhere, 'poison')
        mkdirSync(poison)
        for (const header of ['assert.h', 'string.h', 'napi.h']) {
          writeFileSync(join(poison, header), '#error This is not the header that was meant.\n')
        }
        const named = ['CPATH', 'C_INCLUDE_PATH', 'CPLUS_INCLUDE_PATH', 'LIBRARY_PATH', 'COMPILER_PATH']
        const poisoned = Object.fromEntries(named.map((name) => [name, poison]))
        const { status, stderr } = spawnSync(process.execPath, ['scripts/prebuild.mjs', built], {
          cwd: source,
          encoding: 'utf8',
          env: {
            ...process.env,
            ...poisoned,
            CXXFLAGS: '-O0',
            LC_ALL: 'C.UTF-8',
            TZ: 'Asia/Tokyo',
            HOME: elsewhere,
            TMPDIR: elsewhere,
          },
        })
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
        for (const processor of here) {
          const name = `linux-${processor}/ipvs.node`
          expect(readFileSync(join(built, name)).equals(readFileSync(join(folder, name))), name).toBe(true)
        }
      } finally {
        rmSync(elsewhere, { recursive: true })
      }
    },
    patient(120_000),
  )
})

test('without a compiler for each processor nothing is packed, and its package is named', () => {
  const empty = mkdtempSync(join(tmpdir(), 'ipvs-no-compiler-'))
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/prebuild.mjs'], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { PATH: empty },
  })
  rmSync(empty, { recursive: true })
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
  const other = process.arch === 'x64' ? 'g++-aarch64-linux-gnu' : 'g++-x86-64-linux-gnu'
  expect(stderr).toContain('apt-get install -y --no-install-recommends')
  expect(stderr).toContain(other)
})
