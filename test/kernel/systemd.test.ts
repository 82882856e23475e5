import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { examples, pages } from '../docs/markdown.ts'
import { kernelTests, REQUIRED } from '../helpers/kernel.ts'
import { NO_SYSTEMD, Systemd } from '../helpers/systemd.ts'
import { until } from '../helpers/until.ts'

/** The units of docs/examples under a real systemd, in good days and bad. */

const SAVED = '/var/lib/ipvs/table.json'
const WANTED = '/etc/ipvs/table.yaml'

/** A table of one service, with real servers of these addresses. */
function tableOf(...addresses: readonly string[]): string {
  const servers = addresses.map((address) => `      - { address: ${address} }\n`).join('')
  return `services:
  - protocol: tcp
    address: 192.0.2.10
    port: 80
    scheduler: rr
    realServers:\n${servers}`
}

const BROKEN = 'services: 7\n'
/** The kernel takes no multicast address, and the library does not know that. */
const HALF = tableOf('10.0.0.7', '224.0.0.1')

function unitTests(): void {
  let systemd: Systemd

  beforeAll(async () => {
    systemd = await Systemd.boot()
    return () => systemd.end()
  })
  beforeEach(async () => {
    await systemd.run(
      [
        `systemctl stop 'ipvs-*'`,
        'systemctl reset-failed',
        'rm -rf /etc/systemd/system/*.service.d/test.conf /etc/systemd/system/*.timer.d',
        'systemctl daemon-reload',
        'ipvsadm -C',
        'rm -rf /var/lib/ipvs /etc/ipvs /run/ipvs /srv/director /log/*',
        'mkdir -p -m 700 /var/lib/ipvs /etc/ipvs',
      ].join('\n'),
    )
  })

  const write = (path: string, text: string): Promise<string> => systemd.run(`cat > ${path}`, text)
  const start = (unit: string): Promise<string> => systemd.run(`systemctl start ${unit}`)
  const state = (unit: string): Promise<string> => systemd.show(unit, 'ActiveState')
  const flush = (): Promise<string> => systemd.run('ipvsadm -C')
  /** The addresses of the real servers in the kernel. */
  const servers = async (): Promise<string[]> =>
    [...(await systemd.run('ipvsadm -Sn')).matchAll(/-r ([\d.]+)/g)].map(([, address = '']) => address)
  /** Settings of a unit that take too long for a test. */
  const override = (unit: string, section: string, lines: string): Promise<string> =>
    systemd.run(
      `mkdir -p /etc/systemd/system/${unit}.d && cat > /etc/systemd/system/${unit}.d/test.conf && systemctl daemon-reload`,
      `[${section}]\n${lines}`,
    )
  /** A unit that does not start. Gives the exit status of its command. */
  const failing = async (unit: string): Promise<number> => {
    expect((await systemd.tryRun(`systemctl start ${unit}`)).status).not.toBe(0)
    expect(await state(unit)).toBe('failed')
    return Number(await systemd.show(unit, 'ExecMainStatus'))
  }

  describe('ipvs-restore.service', () => {
    test('brings the table back after a stray ipvsadm -C, and leaves the file as it is', async () => {
      await systemd.run('ipvsadm -R', '-A -t 192.0.2.10:80 -s rr\n-a -t 192.0.2.10:80 -r 10.0.0.7:80 -g\n')
      await systemd.run(`ipvs save ${SAVED}`)
      const saved = await systemd.run(`cat ${SAVED}`)
      await flush()
      await systemd.run('systemctl enable --now ipvs-restore.service ipvs-save.timer')
      expect(await servers()).toEqual(['10.0.0.7'])

      await flush()
      await systemd.run('systemctl restart ipvs-restore.service')
      expect(await servers()).toEqual(['10.0.0.7'])
      await systemd.run('systemctl stop ipvs-restore.service')
      expect(await systemd.run(`cat ${SAVED}`)).toBe(saved)
      expect(await systemd.run('ls /run/ipvs')).toMatch(/^netns-\d+\.lock\n$/)
      await systemd.run('systemctl disable --now ipvs-restore.service ipvs-save.timer')
    })

    test.each([
      ['is missing', `rm ${SAVED}`, 'there is no such file or folder'],
      ['is broken', `printf '{"services": 7}' > ${SAVED}`, 'services must be an array'],
      ['belongs to somebody else', `chown 65534 ${SAVED}; chmod 600 ${SAVED}`, 'permission denied'],
    ])('fails if the file %s; the table stays, and is not saved', async (_, spoil, reason) => {
      await write(SAVED, '{"services": []}')
      await systemd.run(spoil)
      await systemd.run('ipvsadm -A -t 192.0.2.10:80')
      const before = await systemd.tryRun(`cat ${SAVED}`)
      expect(await failing('ipvs-restore.service')).toBe(7)
      expect(await systemd.said('ipvs-restore')).toContain(reason)
      expect(await systemd.run('ipvsadm -Sn')).toContain('192.0.2.10:80')
      const saving = await systemd.tryRun('systemctl start ipvs-save.service')
      expect(saving).toMatchObject({ status: 1, stderr: expect.stringContaining('dependency') as string })
      expect(await systemd.tryRun(`cat ${SAVED}`)).toEqual(before)
    })

    test('restores the rest if the kernel refuses a real server, and has failed', async () => {
      await systemd.run(
        `cat > ${SAVED}.yaml && sed -i s/table.json/table.json.yaml/ /etc/systemd/system/ipvs-restore.service && systemctl daemon-reload`,
        HALF,
      )
      expect(await failing('ipvs-restore.service')).toBe(8)
      expect(await servers()).toEqual(['10.0.0.7'])
      expect(await systemd.said('ipvs-restore')).toContain('224.0.0.1')
      await systemd.run(
        'sed -i s/table.json.yaml/table.json/ /etc/systemd/system/ipvs-restore.service && systemctl daemon-reload',
      )
    })
  })

  describe('ipvs-save.service', () => {
    test('saves when its timer says so, and never an empty table', async () => {
      await write(SAVED, '{"services": []}')
      await start('ipvs-restore.service')
      await systemd.run('ipvsadm -A -t 192.0.2.10:80')
      await override(
        'ipvs-save.timer',
        'Timer',
        'OnCalendar=\nOnActiveSec=0\nRandomizedDelaySec=0\nAccuracySec=1ms\n',
      )
      await start('ipvs-save.timer')
      const saved = await until('it has saved', async () => {
        const text = await systemd.run(`cat ${SAVED}`)
        return text.includes('192.0.2.10') && text
      })
      await until('it has ended', async () => (await state('ipvs-save.service')) === 'inactive')
      expect(await systemd.show('ipvs-save.service', 'Result')).toBe('success')

      await flush()
      expect(await failing('ipvs-save.service')).toBeGreaterThan(0)
      expect(await systemd.run(`cat ${SAVED}`)).toBe(saved)
    })
  })

  describe('ipvs-reconcile.service', () => {
    const unit = 'ipvs-reconcile.service'

    test('is what keepalived waits for, with the drop-in of docs/high-availability.md', async () => {
      const guide = pages().filter(({ name }) => name === 'docs/high-availability.md')
      const texts = guide.flatMap((page) => examples(page, 'text')).map(({ code }) => code)
      const dropIn = texts.find((code) => code.includes('keepalived.service.d')) ?? ''
      const [, path = '', folder = ''] = /^# ((.*)\/.*)\n/.exec(dropIn) ?? []
      await systemd.run(`mkdir -p ${folder} && cat > ${path}`, `${dropIn}\n`)
      await write(
        '/etc/systemd/system/keepalived.service',
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'ipvsadm -Sn > /log/keepalived'\n",
      )
      // As when the machine starts.
      await write('/etc/systemd/system/test.target', `[Unit]\nWants=keepalived.service ${unit}\n`)
      await systemd.run('systemctl daemon-reload')
      await write(WANTED, tableOf('10.0.0.7'))
      await start('test.target')
      await until('keepalived has started', async () => (await systemd.run('ls /log')).includes('keepalived'))
      expect(await systemd.run('cat /log/keepalived')).toContain('-r 10.0.0.7')
      await systemd.run(
        `rm -r ${folder} /etc/systemd/system/keepalived.service /etc/systemd/system/test.target && systemctl daemon-reload`,
      )
    })
    const statusText = (): Promise<string> => systemd.show(unit, 'StatusText')

    test('has started once the table is as its file says, and not before', async () => {
      await write(WANTED, BROKEN)
      await systemd.run(`systemctl start --no-block ${unit}`)
      await until('its status says why', async () => (await statusText()).includes('services must be'))
      expect(await state(unit)).toBe('activating')
      await write(WANTED, tableOf('10.0.0.7'))
      await until('it has started', async () => (await state(unit)) === 'active')
      expect(await servers()).toEqual(['10.0.0.7'])
      expect(await statusText()).toBe(`1 service and 1 real server, as ${WANTED} says`)
    })

    test('waits for a folder that it may not read', async () => {
      await write(WANTED, tableOf('10.0.0.7'))
      await systemd.run('chown 65534 /etc/ipvs')
      await systemd.run(`systemctl start --no-block ${unit}`)
      await until('its status says why', async () => (await statusText()).includes('permission denied'))
      expect(await state(unit)).toBe('activating')
    })

    test('compares when it is reloaded, keeps the table if its file is broken, and ends with 0', async () => {
      await write(WANTED, tableOf('10.0.0.7'))
      await start(unit)
      await flush()
      await systemd.run(`systemctl reload ${unit}`)
      await until('the table is back', async () => (await servers()).includes('10.0.0.7'))
      expect(await systemd.said('ipvs-reconcile')).toContain(`SIGHUP: reading ${WANTED} again`)

      await write(WANTED, BROKEN)
      await until('its status says why', async () => (await statusText()).includes('services must be'))
      await systemd.run(`systemctl reload ${unit}`)
      await until('it is no longer reloading', async () => (await state(unit)) === 'active')
      expect(await servers()).toEqual(['10.0.0.7'])
      await write(WANTED, tableOf('10.0.0.7', '10.0.0.8'))
      await until('it works again', async () =>
        (await statusText()).startsWith('1 service and 2 real servers'),
      )

      await systemd.run(`systemctl stop ${unit}`)
      expect(await state(unit)).toBe('inactive')
      expect(await systemd.show(unit, 'Result')).toBe('success')
      expect(await systemd.show(unit, 'ExecMainStatus')).toBe('0')
      expect(await servers()).toHaveLength(2)
      expect(await systemd.said('ipvs-reconcile')).toMatch(
        /works again after [\s\S]*\nipvs: ended by SIGTERM\n$/,
      )
    })

    test('is started anew if it hangs', async () => {
      await write(WANTED, tableOf('10.0.0.7'))
      await override(unit, 'Service', 'WatchdogSec=2\nRestartSec=100ms\nLimitCORE=0\n')
      await start(unit)
      const pid = await systemd.show(unit, 'MainPID')
      await systemd.run(`kill -STOP ${pid}`)
      await until('it has another process', async () => (await systemd.show(unit, 'NRestarts')) === '1')
      await until('it runs again', async () => (await state(unit)) === 'active')
      expect(await systemd.show(unit, 'MainPID')).not.toBe(pid)
    })

    test('takes the place of ipvs-restore.service', async () => {
      await write(SAVED, '{"services": []}')
      await write(WANTED, tableOf('10.0.0.7'))
      await start('ipvs-restore.service')
      await start(unit)
      expect(await state('ipvs-restore.service')).toBe('inactive')
    })
  })

  describe('ipvs-apply.service', () => {
    const unit = 'ipvs-apply.service'
    const git = 'git -c user.name=a -c user.email=a@example.org'

    /** Commits a file to what the clone in /etc/ipvs follows. */
    const commit = (text: string): Promise<string> =>
      systemd.run(`cd /srv/director && cat > table.yaml && git add . && ${git} commit -qm change`, text)

    beforeEach(async () => {
      await systemd.run('git -c init.defaultBranch=main init -q /srv/director')
      await commit(tableOf('10.0.0.7'))
      await systemd.run('git clone -q /srv/director /etc/ipvs')
    })

    test('applies the newest commit at its start, and when it is reloaded', async () => {
      await commit(tableOf('10.0.0.7', '10.0.0.8'))
      await start(unit)
      expect(await servers()).toEqual(['10.0.0.7', '10.0.0.8'])
      await commit(tableOf('10.0.0.8'))
      await systemd.run(`systemctl reload ${unit}`)
      expect(await servers()).toEqual(['10.0.0.8'])
    })

    test('applies the last good commit if the network is down', async () => {
      await systemd.run('rm -rf /srv/director')
      await start(unit)
      expect(await servers()).toEqual(['10.0.0.7'])
      expect(await state(unit)).toBe('active')
    })

    test('applies the last good commit if the newest is broken, and has failed', async () => {
      await commit(BROKEN)
      await failing(unit)
      expect(await servers()).toEqual(['10.0.0.7'])
      expect(await systemd.said('ipvs-apply')).toMatch(
        /services must be[\s\S]*the newest commit is not applied/,
      )
      // Somebody mends it.
      await commit(tableOf('10.0.0.9'))
      await start(unit)
      expect(await servers()).toEqual(['10.0.0.9'])
    })

    test.each([
      ['something broken', BROKEN],
      ['a real server that the kernel refuses', HALF],
    ])('stays as it is if a reload brings %s', async (_, wrong) => {
      await start(unit)
      await commit(wrong)
      expect((await systemd.tryRun(`systemctl reload ${unit}`)).status).not.toBe(0)
      expect(await servers()).toEqual(['10.0.0.7'])
      expect(await state(unit)).toBe('active')
    })
  })
}

kernelTests('the units of docs/examples', () => {
  if (NO_SYSTEMD === undefined) unitTests()
  else if (REQUIRED) {
    test('run under a systemd', () => {
      throw new Error(NO_SYSTEMD)
    })
  } else {
    console.warn(`SKIPPED: the units under systemd: ${NO_SYSTEMD}`)
    test.skip('run under a systemd')
  }
})
