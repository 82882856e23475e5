import { expect, test } from 'vitest'
import { addon } from './addon.ts'

// What they are for: test/codec compares the codec's numbers with them.
test('the addon tells the numbers of the header that it was compiled with', () => {
  expect(addon.constants).toMatchObject({
    IPVS_CMD_NEW_SERVICE: 1,
    IPVS_CMD_FLUSH: 17,
    IPVS_DEST_ATTR_TUN_FLAGS: 15,
    IP_VS_SVC_F_ONEPACKET: 4,
    IP_VS_CONN_F_TUNNEL_TYPE_GRE: 2,
    IP_VS_SCHEDNAME_MAXLEN: 16,
  })
  expect(Object.values(addon.constants).every(Number.isInteger)).toBe(true)
})
