import { describe, expect, test } from 'vitest'
import { formatState, parseState, type StateFormat } from '../../lib/text.ts'
import { examples, pages } from './markdown.ts'

/** The samples of docs/save-and-restore.md are what is read and written, and all say the same. */

describe('docs/save-and-restore.md', () => {
  const page = pages().find(({ name }) => name === 'docs/save-and-restore.md')
  const sample = (language: string): string => {
    const [first] = page === undefined ? [] : examples(page, language)
    if (first === undefined) throw new Error(`docs/save-and-restore.md has no example of ${language}`)
    return `${first.code}\n`
  }

  test.each<[StateFormat, string]>([
    ['json', 'json'],
    ['yaml', 'yaml'],
    ['ipvsadm', 'text'],
  ])('shows %s as it is written', async (format, language) => {
    const text = sample(language)
    const state = await parseState(text)
    expect(await formatState(state, { format })).toBe(text)
    const other = await parseState(sample('json'))
    expect(await formatState(state, { format: 'ipvsadm' })).toBe(
      await formatState(other, { format: 'ipvsadm' }),
    )
  })
})
