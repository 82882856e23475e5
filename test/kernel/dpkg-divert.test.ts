import { existsSync, mkdtempSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { run, type Step, stepsOf } from '../docs/console.ts'
import { pages } from '../docs/markdown.ts'
import { installCommand } from '../helpers/installed-command.ts'
import { command, kernelTests, withNamespace } from '../helpers/kernel.ts'

/** docs/ipvsadm.md on Debian's package ipvsadm, the real one, which is installed: in the guest alone. */

const PACKAGE = join(process.env.IPVS_GUEST_RECIPES ?? '', 'usr/share/ipvsadm.deb')
const NAMES = ['ipvsadm', 'ipvsadm-restore', 'ipvsadm-save']

/** What it needs is there, but dpkg does not know of it. */
async function install(file: string): Promise<void> {
  await command(['dpkg', '--force-depends', '--force-confold', '--install', file])
}

/** The same package with another version, and a line more in its scripts. */
async function newer(folder: string): Promise<string> {
  const [tree, file] = [join(folder, 'tree'), join(folder, 'newer.deb')]
  await command(['dpkg-deb', '--raw-extract', PACKAGE, tree])
  const control = readFileSync(join(tree, 'DEBIAN/control'), 'utf8')
  writeFileSync(join(tree, 'DEBIAN/control'), control.replace(/^Version: .*$/m, '$&+newer'))
  for (const name of NAMES.slice(1)) {
    const script = readFileSync(join(tree, 'sbin', name), 'utf8')
    writeFileSync(join(tree, 'sbin', name), `${script}# newer\n`)
  }
  await command(['dpkg-deb', '--root-owner-group', '--build', tree, file])
  return file
}

kernelTests("docs/ipvsadm.md: in the place of Debian's ipvsadm", () => {
  const present = process.env.IPVS_GUEST_RECIPES !== undefined
  if (!present) console.warn('SKIPPED: dpkg-divert: it takes the option --with recipes of the guest')

  test.skipIf(!present)(
    'ours is called by path, an upgrade keeps it, and the way back restores all',
    async () => {
      const page = pages().find(({ name }) => name === 'docs/ipvsadm.md')
      const steps = page === undefined ? [] : stepsOf(page, 'console dpkg')
      const back = steps.findIndex(({ command }) => command.includes('--remove'))
      expect(back).toBeGreaterThan(3)
      const folder = mkdtempSync(join(tmpdir(), 'ipvs-dpkg-'))
      // Where packages have it.
      if (!existsSync('/usr/bin/node')) symlinkSync(process.execPath, '/usr/bin/node')
      await install(PACKAGE)
      const original = NAMES.map((name) => readFileSync(join('/sbin', name)))
      const { env } = installCommand()
      const ours = realpathSync(join((env.PATH ?? '').split(':')[0] ?? '', 'ipvs'))

      await withNamespace(async (netns) => {
        const expectStep = (step: Step): void => {
          expect(run(step, folder, env, ['ip', 'netns', 'exec', netns.name]), step.command).toBe(step.output)
        }
        steps.slice(0, back).forEach(expectStep)
        expect(NAMES.map((name) => realpathSync(join('/sbin', name)))).toEqual(NAMES.map(() => ours))
        expect(NAMES.map((name) => readFileSync(join('/sbin', `${name}.distrib`)))).toEqual(original)

        await install(await newer(folder))
        expect(NAMES.map((name) => realpathSync(join('/sbin', name)))).toEqual(NAMES.map(() => ours))
        expect(readFileSync('/sbin/ipvsadm-save.distrib', 'utf8')).toMatch(/# newer\n$/)
        const [lines] = await Promise.all([netns.run(['/sbin/ipvsadm', '-Sn'])])
        expect(lines).toBe('-A -t 192.0.2.10:80 -s rr\n')

        steps.slice(back).forEach(expectStep)
        expect(readFileSync('/sbin/ipvsadm')).toEqual(original[0])
        expect(readFileSync('/sbin/ipvsadm-save', 'utf8')).toMatch(/# newer\n$/)
        expect(NAMES.map((name) => existsSync(join('/sbin', `${name}.distrib`)))).toEqual(
          NAMES.map(() => false),
        )
        expect(await command(['dpkg-divert', '--list', '*ipvsadm*'])).toBe('')
        expect(await netns.run(['/sbin/ipvsadm', '-Sn'])).toBe('-A -t 192.0.2.10:80 -s rr\n')
      })
    },
  )
})
