import { expect, test } from 'vitest'
import { directors } from '../helpers/getting-started.ts'
import { tableOf } from '../helpers/guides.ts'

/** Each kind of director of docs/getting-started.md is set up with the command and with the library, to the same table. */

test('there are NAT, direct routing and tunnels', () => {
  expect(directors().map(({ title }) => title)).toEqual(['NAT', 'Direct routing', 'Tunnels'])
})

test.each(directors().map((one) => [one.title, one] as const))(
  '%s is the same with the command and with the library',
  async (_, { state, program }) => {
    const byFile = await tableOf({ language: 'yaml', code: state })
    expect(await tableOf({ language: 'ts', code: program })).toBe(byFile)
    expect(byFile).toContain('"method"')
  },
)
