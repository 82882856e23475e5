import { test } from 'vitest'
import { CASES } from '../conformance/cases.ts'
import { withKernel } from '../helpers/kernel-conformance.ts'
import { kernelTests } from '../helpers/kernel.ts'

kernelTests('the real kernel, by the cases that the in-memory kernel runs too', () => {
  test.each(CASES)('$title', ({ run }) => withKernel((kernel) => run(kernel)))
})
