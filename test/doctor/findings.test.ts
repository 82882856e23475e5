import { expect, test } from 'vitest'
import { DOCTOR_CASES } from './cases.ts'

/** Each look, at machines that are made by hand. */
test.each(DOCTOR_CASES)('$input', ({ look, situation, finds }) => {
  const found = [...look(situation)]
  expect(found).toMatchObject(finds)
  for (const { message, effect, commands, where, sysctls } of found) {
    expect(`${message}${effect}`).not.toMatch(/\n|undefined|\?/)
    expect(effect).toMatch(/^[A-Z].*\.$/)
    expect(where).toBe('here')
    for (const [name, value] of Object.entries(sysctls))
      expect(commands).toContain(`sysctl -w ${name}=${value}`)
  }
})
