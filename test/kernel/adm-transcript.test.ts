import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openNative } from '../../lib/transport/native.ts'
import { HOSTS, LINKS, SCENES, SERVICES, transcript } from '../helpers/adm-transcript.ts'
import { hashSeedOf } from '../helpers/kernel-table.ts'
import { kernelTests, THROWAWAY, withNamespaces } from '../helpers/kernel.ts'
import { patient } from '../helpers/patience.mjs'

/**
 * Records what the real programs do, for test/cli/adm-transcript.test.ts:
 *
 *   npm run guest -- --share test/fixtures --env IPVS_RECORD=1 npx vitest run \
 *     --config vitest.kernel.config.ts test/kernel/adm-transcript.test.ts
 */
const FIXTURE = new URL('../fixtures/ipvsadm-1.31-linux-6.1.txt', import.meta.url)

kernelTests('the real programs', () => {
  test.skipIf(!THROWAWAY || process.env.IPVS_RECORD === undefined)(
    'are recorded',
    { timeout: patient(600_000) },
    async () => {
      const files = { '/etc/services': SERVICES, '/etc/hosts': HOSTS }
      for (const [path, text] of Object.entries(files)) writeFileSync(path, text)
      let text = ''
      for (const scene of SCENES) {
        await withNamespaces(
          1,
          async (netns) => {
            const transport = await openNative({ netns: netns.path, timeoutMs: patient(5000) })
            if ('errno' in transport) throw new Error(`no transport: errno ${String(transport.errno)}`)
            const hashSeed = await hashSeedOf(transport)
            await transport.batch(scene.requests ?? [])
            await transport.close()
            const shell = netns.shell()
            const said = await transcript(scene, netns.ipvs, ({ program, stdin }, words) =>
              shell.run([program, ...words], stdin),
            )
            text += `== ${scene.title}\n== hash seed ${String(hashSeed)}\n${said}`
          },
          { setUp: () => [LINKS] },
        )
      }
      writeFileSync(FIXTURE, text)
      expect(readFileSync(FIXTURE, 'utf8')).toBe(text)
    },
  )
})
