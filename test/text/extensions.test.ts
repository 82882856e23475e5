import { expect, test } from 'vitest'
import { EXTENSIONS, formatOfName } from '../../lib/text/extensions.ts'

test.each([
  ['web.json', 'json'],
  ['/etc/ipvs/WEB.YML', 'yaml'],
  ['a.b.yaml', 'yaml'],
  ['monday.rules', 'ipvsadm'],
  ['./x.ipvs', 'ipvsadm'],
  ['..save.save', 'ipvsadm'],
  ['json', undefined],
  ['.json', undefined],
  ['folder.json/web', undefined],
  ['folder/.yaml', undefined],
  ['web.json~', undefined],
  ['web.', undefined],
  ['web.toString', undefined],
  ['web.json\n', undefined],
  ['', undefined],
])('%j is %s', (path, format) => {
  expect(formatOfName(path)).toBe(format)
})

test('every extension has its format', () => {
  for (const extension of EXTENSIONS) expect(formatOfName(`web${extension}`)).toBeDefined()
})
