import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { ipvs, type Said } from '../cli/terminal.ts'
import type { CommandResult } from '../helpers/shell.ts'
import { type InstalledCommand, installCommand } from '../helpers/installed-command.ts'
import { command, kernelTests, type Netns, withNamespace } from '../helpers/kernel.ts'

/** The history on the real kernel, with real folders and users. What the commands print is tested in test/cli. */

const LINES = `-A -t 192.0.2.10:80 -s rr
-a -t 192.0.2.10:80 -r 10.0.0.7:80 -m -w 1
-a -t 192.0.2.10:80 -r 10.0.0.8:80 -m -w 2
`
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']

kernelTests('the history', () => {
  let installed: InstalledCommand
  let folder: string
  let wanted: string

  beforeAll(() => {
    installed = installCommand()
  })
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipvs-history-'))
    wanted = join(folder, 'wanted.rules')
    writeFileSync(wanted, LINES)
    return () => {
      rmSync(folder, { recursive: true })
    }
  })

  /** A shell in a namespace, with a history in `state`. */
  function sh(netns: Netns, script: string, state = join(folder, 'state')): Promise<CommandResult> {
    const variables = [`PATH=${installed.env.PATH ?? ''}`, 'IPVS_HISTORY=', `STATE_DIRECTORY=${state}`]
    return netns.tryRun(['env', ...variables, 'sh', '-c', script])
  }

  async function table(netns: Netns): Promise<string> {
    const lines = await netns.run(['ipvsadm', '-Sn'])
    return lines
      .split(/(?<=\n)/)
      .sort()
      .join('')
  }

  /** The same in this process, from outside of the namespace: to start Node each time takes most of the time. */
  function run(netns: Netns, line: string): Promise<Said> {
    const env = { IPVS_HISTORY: '', STATE_DIRECTORY: join(folder, 'state') }
    return ipvs([...line.split(' '), '--netns', netns.name], { kernel: 'real', env })
  }

  test('undoes a drain and an apply, with changes by others in between', async () => {
    await withNamespace(async (netns) => {
      // Inside of the namespace, and from outside by its name, it is the same history.
      expect(await sh(netns, `ipvs apply ${wanted}`)).toMatchObject({ status: 0, stderr: '' })
      const drain = 'drain tcp/192.0.2.10:80 10.0.0.7'
      expect(await run(netns, drain)).toMatchObject({ status: 0, stderr: '' })
      expect(await table(netns)).not.toContain('10.0.0.7')

      await netns.run(['ipvsadm', '-A', '-u', '192.0.2.10:53', '-s', 'rr'])
      // Only that server; then the whole table.
      expect(await run(netns, `${drain} --undo`)).toMatchObject({ status: 0 })
      expect(await table(netns)).toBe(LINES.replace('\n', '\n-A -u 192.0.2.10:53 -s rr\n'))
      expect((await run(netns, 'undo 2')).stderr).toContain('this deletes 1 service')
      const undone = await run(netns, 'undo 2 --yes')
      expect(undone.status).toBe(0)
      expect(undone.stdout).toContain('- udp/192.0.2.10:53')
      expect(await table(netns)).toBe(LINES)

      expect(readdirSync(join(folder, 'state/history'))).toEqual([`netns-${netns.name}`])
      const { stdout } = await run(netns, 'history')
      expect(stdout.split('\n').map((line) => line.split(/ {2,}/).at(-1))).toEqual([
        'COMMAND',
        `ipvs undo 2 --yes --netns ${netns.name}`,
        `ipvs ${drain} --undo --netns ${netns.name}`,
        `ipvs ${drain} --netns ${netns.name}`,
        `ipvs apply ${wanted}`,
        '',
      ])
      expect(await run(netns, 'undo --yes')).toMatchObject({ status: 0 })
      expect(await table(netns)).toContain('-u 192.0.2.10:53')
    })
  })

  test('of a namespace that was deleted is not used for another with its name', async () => {
    await withNamespace(async (netns) => {
      const { name } = netns
      await run(netns, `apply ${wanted}`)
      // One more, or the new one could have the inode of the old.
      await command(['sh', '-c', `ip netns del ${name}; ip netns add ${name}-2; ip netns add ${name}`])
      const again = await run(netns, 'undo --yes --force')
      await command(['ip', 'netns', 'del', `${name}-2`])
      expect(again.status).toBe(3)
      expect(again.stderr).toContain("is of another network namespace, which had this one's name before")
    })
  })

  test('goes on where nothing can be written, and says why once', async () => {
    await withNamespace(async (netns) => {
      const full = join(folder, 'full')
      const mount = (options: string): string =>
        `mkdir ${full}; mount -t tmpfs -o ${options} tmpfs ${full} && `
      const prepare: Readonly<Record<string, readonly [script: string, reason: RegExp]>> = {
        full: [
          `${mount('size=16k,mode=700')}cat /dev/zero >${full}/zeros 2>/dev/null; `,
          /cannot write .*: no space is left on its file system\n/,
        ],
        'read-only': [
          `${mount('size=16k,mode=700')}mount -o remount,ro ${full} && `,
          /cannot write .*: its file system is read-only\n/,
        ],
        foreign: [
          `chmod 755 ${folder}; mkdir -m 1777 ${full}; ${NOBODY.join(' ')} mkdir -m 777 ${full}/history; chmod 755 ${full}; `,
          /history belongs to another user, with ID 65534\n/,
        ],
        linked: [
          `mkdir ${full} ${full}/target; ln -s target ${full}/history; `,
          /history is a symbolic link\n/,
        ],
      }
      for (const [name, [script, reason]] of Object.entries(prepare)) {
        await netns.run(['ipvsadm', '-C'])
        // What is mounted is gone with the shell.
        const { status, stderr } = await sh(
          netns,
          `unshare -m sh -c '${script}ipvs apply ${wanted} --yes'; rm -rf ${full}`,
          full,
        )
        expect(stderr, name).toMatch(/^ipvs: the state from before was not kept for ipvs undo: [^\n]*\n$/)
        expect(stderr, name).toMatch(reason)
        expect({ status, table: await table(netns) }, name).toEqual({ status: 0, table: LINES })
      }
    })
  })

  test('of two commands at the same time has both', async () => {
    await withNamespace(async (netns) => {
      const other = join(folder, 'other.rules')
      writeFileSync(other, '-A -f 5 -s rr\n')
      const apply = (file: string): Promise<CommandResult> => sh(netns, `ipvs apply ${file} --yes --no-prune`)
      const both = await Promise.all([apply(wanted), apply(other)])
      expect(both.map(({ status }) => status)).toEqual([0, 0])
      // The second may have to wait for the first.
      for (const { stderr } of both) expect(stderr).toMatch(/^(ipvs: waiting for ipvs apply [^\n]*\n)?$/)
      const { stdout } = await sh(netns, 'ipvs history')
      expect(stdout).toContain(wanted)
      expect(stdout).toContain(other)
    })
  })

  test('of root is in /var/lib/ipvs, and of a user in the home', async () => {
    await withNamespace(async (netns) => {
      const script = `mount -t tmpfs -o mode=755 tmpfs /var/lib && ipvs apply ${wanted} && find /var/lib/ipvs -printf "%m %U %y %P\\n"`
      const { status, stdout } = await sh(netns, `unshare -m sh -c '${script}'`, '')
      expect(status).toBe(0)
      const [, ...files] = stdout.slice(stdout.indexOf('Done:')).trimEnd().split('\n')
      expect(files.map((line) => line.replace(/-[0-9a-f]{8}\.json$/, '-ID.json'))).toEqual([
        '700 0 d ',
        '700 0 d history',
        `700 0 d history/netns-${netns.name}`,
        `600 0 f history/netns-${netns.name}/000001-ID.json`,
      ])
      const home = join(folder, 'home')
      await command(['install', '-d', '-o', '65534', home])
      await command(['chmod', '755', folder])
      const user = await sh(
        netns,
        `cd ${home} && HOME=${home} ${NOBODY.join(' ')} ipvs apply ${wanted} --memory ${home}/table.json && find ${home} -name '*-*.json' -printf "%m %U %P\\n"`,
        '',
      )
      expect(user.stdout).toMatch(
        /\n600 65534 \.local\/state\/ipvs\/history\/memory-[0-9a-f]{16}\/000001-[0-9a-f]{8}\.json\n$/,
      )
    })
  })
})
