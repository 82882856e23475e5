import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/** What there is one of, and the file that has it. */

const root = fileURLToPath(new URL('..', import.meta.url))

/** The files of a folder without their comments, by name. */
function codeUnder(folder: string, extension: RegExp): Map<string, string> {
  const files = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extension.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
  return new Map(
    files.map((file) => [
      relative(root, file),
      readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*/g, ''),
    ]),
  )
}

function filesWith(code: ReadonlyMap<string, string>, pattern: RegExp): string[] {
  return [...code].filter(([, text]) => pattern.test(text)).map(([file]) => file)
}

const lib = codeUnder('lib', /\.ts$/)
const native = new Map(
  // The headers of others lie in a folder of their own.
  [...codeUnder('native', /\.(cc|h)$/)].filter(([file]) => !file.startsWith('native/node-addon-api/')),
)

test('the numbers of errnos stand in one table', () => {
  expect(filesWith(lib, /(?<!\.)\bE[A-Z]{3,}['"]?\s*[:=]\s*-?\d/)).toEqual(['lib/model/errno.ts'])
  expect(filesWith(lib, /\berrno: -?\d/)).toEqual([])
})

test('work goes to the thread pool in one place', () => {
  const places = [...native].flatMap(([file, text]) =>
    [...text.matchAll(/: *public +\S*AsyncWorker\b|\b(napi_create_async_work|uv_queue_work)\(/g)].map(
      () => file,
    ),
  )
  expect(places).toEqual(['native/addon.cc'])
})

test.each<[string, RegExp, string]>([
  ['what counts as equal', /function same(Service|Server|Tunnel|Daemon)\(/, 'lib/state/equal.ts'],
  ['which values of a sysctl are equal', /function sameSysctl\(/, 'lib/model/sysctls.ts'],
  ['what undoes steps', /\binvert\(step\)/, 'lib/apply/roll-back.ts'],
  [
    'what a drain takes and leaves',
    /function (serversLeaving|stillToRemove|refuseStarved)\(/,
    'lib/apply/removals.ts',
  ],
])('%s has a file of its own', (_, pattern, file) => {
  expect(filesWith(lib, pattern)).toEqual([file])
})
