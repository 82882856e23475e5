import { expect, test } from 'vitest'
import { kernelTests, withNamespace } from '../helpers/kernel.ts'

kernelTests('info', () => {
  test('says what the header of /proc/net/ip_vs says', () =>
    withNamespace(async ({ ipvs, run }) => {
      void run
      const info = await ipvs.info()
      expect(info.version).toBe('1.2.1')
    }))
})
