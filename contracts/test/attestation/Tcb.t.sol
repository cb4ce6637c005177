// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tcb} from "../../src/attestation/Tcb.sol";
import {IAttestationVerifier, TcbStatus, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {vm} from "../Vm.sol";
import {CollateralFixture} from "./CollateralFixture.sol";
import {CollateralText, Dice, Info, IsvLevel, Level, Module} from "./CollateralText.sol";

/// What a platform is, as a certificate and a TD report say.
struct Platform {
    bytes16 cpuSvn;
    uint16 pceSvn;
    bytes16 teeTcbSvn;
}

/// The rules of Intel's verifier without packing, sorting or lanes. Gives what a call must return:
/// a status, or an error.
library TcbReference {
    function platform(Info memory info, Platform memory of_) internal pure returns (bytes memory) {
        bool found;
        uint256 best;
        for (uint256 i; i < info.levels.length; ++i) {
            if (!met(info, info.levels[i], of_)) continue;
            // The greatest level that is met; the earlier one of two equal ones.
            bool greater =
                !found || CollateralText.compare(info.levels[i], info.levels[best], info.tdx) > 0;
            if (greater) best = i;
            found = true;
        }
        if (!found) {
            return abi.encodeWithSelector(
                IAttestationVerifier.NoTcbLevel.selector, of_.cpuSvn, of_.pceSvn, of_.teeTcbSvn
            );
        }
        TcbStatus status = info.levels[best].status;
        uint8 version = uint8(of_.teeTcbSvn[1]);
        if (!info.tdx || version == 0) return abi.encode(status);
        uint8 svn = uint8(of_.teeTcbSvn[0]);
        for (uint256 i; i < info.identities.length; ++i) {
            if (info.identities[i].version != version) continue;
            (bool rated, TcbStatus ofModule) = isvStatus(info.identities[i].levels, svn);
            return rated ? abi.encode(converged(status, ofModule)) : noModuleLevel(version, svn);
        }
        return noModuleLevel(version, svn);
    }

    function isvStatus(IsvLevel[] memory levels, uint256 svn)
        internal
        pure
        returns (bool, TcbStatus)
    {
        for (uint256 i; i < levels.length; ++i) {
            if (levels[i].svn <= svn) return (true, levels[i].status);
        }
        return (false, TcbStatus.Revoked);
    }

    function noModuleLevel(uint256 version, uint256 svn) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(IAttestationVerifier.NoTdxModuleLevel.selector, version, svn);
    }

    function converged(TcbStatus status, TcbStatus component) internal pure returns (TcbStatus) {
        // Rows: what the platform is; columns: what OutOfDate of a component makes of it.
        TcbStatus[9] memory stale = [
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.OutOfDate,
            TcbStatus.OutOfDateConfigurationNeeded,
            TcbStatus.Revoked,
            TcbStatus.TDRelaunchAdvised,
            TcbStatus.TDRelaunchAdvisedConfigurationNeeded
        ];
        if (component == TcbStatus.Revoked) return TcbStatus.Revoked;
        return component == TcbStatus.OutOfDate ? stale[uint256(status)] : status;
    }

    function met(Info memory info, Level memory level, Platform memory of_)
        private
        pure
        returns (bool)
    {
        for (uint256 i; i < 16; ++i) {
            if (of_.cpuSvn[i] < level.sgx[i]) return false;
            bool ofModule = i < 2 && of_.teeTcbSvn[1] != 0;
            if (info.tdx && !ofModule && of_.teeTcbSvn[i] < level.tdx[i]) return false;
        }
        return of_.pceSvn >= level.pceSvn;
    }
}

contract TcbTest is CollateralFixture {
    bytes16 private constant GREATEST = bytes16(type(uint128).max);

    function testFuzz_lanesCompareEveryByte(bytes16 have, bytes16 needed) public pure {
        checkLanes(have, needed);
        checkLanes(needed, needed);
    }

    function testFuzz_lanesFindOneByteThatIsBelow(bytes16 needed, uint256 index, uint8 svn)
        public
        pure
    {
        index %= 16;
        bytes16 mask = bytes16(bytes1(0xff)) >> (8 * index);
        checkLanes((needed & ~mask) | bytes16(bytes1(svn)) >> (8 * index), needed);
        checkLanes((GREATEST & ~mask) | bytes16(bytes1(svn)) >> (8 * index), needed);
    }

    function testFuzz_platformsAreRatedAsByIntel(uint256 seed, bool tdx) public view {
        Dice memory dice = Dice(seed);
        Info memory info = dice.info(tdx);
        (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        for (uint256 i; i < 8; ++i) {
            checkPlatform(info, packed, near(dice, info));
        }
    }

    function testFuzz_modulesAreCheckedAsByIntel(uint256 seed) public view {
        Dice memory dice = Dice(seed);
        Info memory info = dice.info(true);
        (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        uint8 version = uint8(dice.roll(4));
        bool known = version == 0;
        Module memory named = info.base;
        for (uint256 i = info.identities.length; i != 0; --i) {
            if (info.identities[i - 1].version != version) continue;
            (known, named) = (true, info.identities[i - 1]);
        }
        bytes16 teeTcbSvn = bytes16(bytes2(uint16(version) | 0x0500));
        bytes8 attributes = named.attributes & named.mask;
        bytes memory module = abi.encodePacked(named.signer, attributes);
        if (known) {
            parser.tdxModule(packed, teeTcbSvn, module);
            uint256 bit = dice.roll(448);
            module[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        }
        bytes memory expected = known
            ? abi.encodeWithSelector(
                IAttestationVerifier.WrongTdxModule.selector,
                CollateralText.digest(named),
                keccak256(module)
            )
            : TcbReference.noModuleLevel(version, 5);
        checkCall(abi.encodeCall(parser.tdxModule, (packed, teeTcbSvn, module)), expected);
    }

    function test_attributesOutsideTheMaskMustBeZero() public view {
        Info memory info;
        info.tdx = true;
        info.base.signer = new bytes(48);
        info.base.attributes = 0x00000000000000ff;
        info.base.mask = 0x000000000000000f;
        info.levels = new Level[](1);
        (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        bytes memory module = abi.encodePacked(info.base.signer, bytes8(0x000000000000000f));
        parser.tdxModule(packed, 0, module);
        module[55] = 0xff;
        bytes memory expected = abi.encodeWithSelector(
            IAttestationVerifier.WrongTdxModule.selector,
            CollateralText.digest(info.base),
            keccak256(module)
        );
        checkCall(abi.encodeCall(parser.tdxModule, (packed, bytes16(0), module)), expected);
    }

    /// One level each for what decides, and a platform just below it.
    function test_aVersionLeavesTwoComponentsToTheModule() public view {
        Info memory info;
        info.tdx = true;
        info.base.signer = new bytes(48);
        info.levels = new Level[](1);
        info.levels[0].tdx = 0x05000300000000000000000000000000;
        info.identities = new Module[](1);
        info.identities[0] = Module(1, new bytes(48), 0, 0, new IsvLevel[](1));
        info.identities[0].levels[0] = IsvLevel(4, TcbStatus.OutOfDate);
        (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        bytes16[6] memory svns = [
            bytes16(0x05000300000000000000000000000000),
            0x04000300000000000000000000000000,
            0x04010300000000000000000000000000,
            0x03010300000000000000000000000000,
            0x04010200000000000000000000000000,
            0x04020300000000000000000000000000
        ];
        bytes[6] memory expected = [
            abi.encode(TcbStatus.UpToDate),
            noLevel(svns[1]),
            abi.encode(TcbStatus.OutOfDate),
            TcbReference.noModuleLevel(1, 3),
            noLevel(svns[4]),
            TcbReference.noModuleLevel(2, 4)
        ];
        for (uint256 i; i < svns.length; ++i) {
            checkCall(
                abi.encodeCall(parser.platform, (packed, Tee.Tdx, bytes16(0), 0, svns[i])),
                expected[i]
            );
        }
    }

    function test_intelsLevelsRateRealPlatforms() public view {
        (, bytes memory packed) = parser.tcbInfo(bytes(intel("sgx_quote", ".tcb_info")));
        TcbStatus status =
            parser.platform(packed, Tee.Sgx, 0x0b0b0202ff0100000000000000000000, 13, 0);
        vm.assertEq(uint256(status), uint256(TcbStatus.ConfigurationAndSWHardeningNeeded), "second");
        (, packed) = parser.tcbInfo(bytes(intel("tdx_quote_td15ex", ".tcb_info")));
        status = parser.platform(packed, Tee.Tdx, GREATEST, 11, 0x0b010400000000000000000000000000);
        vm.assertEq(uint256(status), uint256(TcbStatus.UpToDate), "first");
        status = parser.platform(packed, Tee.Tdx, GREATEST, 11, 0x06010400000000000000000000000000);
        vm.assertEq(uint256(status), uint256(TcbStatus.OutOfDate), "its module is not");
    }

    function test_gasOfRatingIsSmall() public view {
        (, bytes memory packed) = parser.tcbInfo(bytes(intel("sgx_quote", ".tcb_info")));
        uint256 gas = parser.platformGas(packed, Tee.Sgx, 0x05050202ff0100000000000000000000, 5, 0);
        vm.assertLe(gas, 3_000, "the last of 11 levels");
        (, packed) = parser.tcbInfo(bytes(intel("tdx_quote_td15ex", ".tcb_info")));
        gas = parser.platformGas(
            packed,
            Tee.Tdx,
            0x02020202030100050000000000000000,
            5,
            0x02010200000000000000000000000000
        );
        vm.assertLe(gas, 3_500, "the last of 4 levels, the last of the second module");
    }

    function testFuzz_quotingEnclavesAreRatedAsByIntel(uint256 seed) public view {
        Dice memory dice = Dice(seed);
        TcbStatus[] memory statuses = new TcbStatus[](2);
        statuses[1] = TcbStatus.OutOfDate;
        IsvLevel[] memory levels = dice.isvLevels(type(uint16).max, statuses);
        uint16 svn = uint16(dice.roll(2) == 0 ? dice.roll(4) : dice.roll(1 << 16));
        bytes memory report = enclave();
        (report[258], report[259]) = (bytes1(uint8(svn)), bytes1(uint8(svn >> 8)));
        (bool found, TcbStatus status) = TcbReference.isvStatus(levels, svn);
        bytes memory expected = found
            ? abi.encode(status)
            : abi.encodeWithSelector(IAttestationVerifier.NoQeLevel.selector, svn);
        bytes memory packed = bytes.concat(identity(), CollateralText.packed(levels));
        checkCall(abi.encodeCall(parser.quotingEnclave, (packed, report)), expected);
    }

    /// Every bit of the report, one after the other.
    function test_everyBitOfAQuotingEnclaveThatIsFixedMatters() public view {
        bytes memory report = enclave();
        bytes memory packed = bytes.concat(identity(), hex"000000");
        for (uint256 bit; bit < 384 * 8; ++bit) {
            bytes1 flip = bytes1(uint8(1 << (bit % 8)));
            report[bit / 8] ^= flip;
            bytes memory expected = fault(bit / 8, flip, report);
            checkCall(abi.encodeCall(parser.quotingEnclave, (packed, report)), expected);
            report[bit / 8] ^= flip;
        }
    }

    /// An identity that itself wants DEBUG, or does not look at it, lets no enclave pass with it.
    function test_refusesAQuotingEnclaveInDebugMode() public view {
        bytes memory report = enclave();
        bytes memory packed = bytes.concat(identity(), hex"000000");
        packed[48] = 0xf9;
        report[48] = 0x13;
        bytes memory expected = abi.encodeWithSelector(
            IAttestationVerifier.WrongQuotingEnclave.selector,
            IAttestationVerifier.QeField.Attributes,
            bytes32(0),
            bytes32(uint256(0x02) << 120)
        );
        checkCall(abi.encodeCall(parser.quotingEnclave, (packed, report)), expected);
        (packed[32], packed[48]) = (0x13, 0xfb);
        checkCall(abi.encodeCall(parser.quotingEnclave, (packed, report)), expected);
        report[48] = 0x11;
        expected = abi.encodeWithSelector(
            IAttestationVerifier.WrongQuotingEnclave.selector,
            IAttestationVerifier.QeField.Attributes,
            bytes32(uint256(0x13) << 120),
            bytes32(uint256(0x11) << 120)
        );
        checkCall(abi.encodeCall(parser.quotingEnclave, (packed, report)), expected);
    }

    function test_convergesAsByIntel() public pure {
        for (uint256 i; i < 9; ++i) {
            for (uint256 j; j < 9; ++j) {
                (TcbStatus status, TcbStatus component) = (TcbStatus(i), TcbStatus(j));
                TcbStatus expected = TcbReference.converged(status, component);
                vm.assertEq(
                    uint256(Tcb.converge(status, component)), uint256(expected), "converged"
                );
            }
        }
    }

    function test_relaunchAsByIntel() public pure {
        // Current status in columns; what is not listed stays what it was at launch.
        uint8[7] memory outOfDate = [7, 7, 8, 8, 4, 4, 4];
        uint8[7] memory outOfDateConfiguration = [8, 8, 8, 8, 5, 5, 5];
        for (uint256 launch; launch < 9; ++launch) {
            for (uint256 current; current < 7; ++current) {
                uint256 expected = launch;
                if (launch == 4) expected = outOfDate[current];
                if (launch == 5) expected = outOfDateConfiguration[current];
                TcbStatus got = Tcb.relaunch(TcbStatus(launch), TcbStatus(current));
                vm.assertEq(uint256(got), expected, "relaunch");
            }
        }
    }

    function checkLanes(bytes16 have, bytes16 needed) private pure {
        bool expected = true;
        for (uint256 i; i < 16; ++i) {
            if (have[i] < needed[i]) expected = false;
        }
        bool got = Tcb.meets(Tcb.lanes(uint128(have)), Tcb.lanes(uint128(needed)));
        vm.assertEq(got, expected, "lanes");
    }

    function checkPlatform(Info memory info, bytes memory packed, Platform memory of_)
        private
        view
    {
        Tee tee = info.tdx ? Tee.Tdx : Tee.Sgx;
        checkCall(
            abi.encodeCall(parser.platform, (packed, tee, of_.cpuSvn, of_.pceSvn, of_.teeTcbSvn)),
            TcbReference.platform(info, of_)
        );
    }

    /// The call must return, or revert with, exactly this.
    function checkCall(bytes memory data, bytes memory expected) private view {
        (bool done, bytes memory got) = address(parser).staticcall(data);
        vm.assertEq(got, expected, "outcome");
        // Errors are not a multiple of 32 bytes long.
        vm.assertEq(done, expected.length % 32 == 0, "reverted");
    }

    /// A platform at a level, or a step away from it.
    function near(Dice memory dice, Info memory info) private pure returns (Platform memory of_) {
        Level memory level = info.levels[dice.roll(info.levels.length)];
        of_.cpuSvn = near(dice, level.sgx);
        of_.pceSvn = level.pceSvn;
        if (dice.roll(4) == 0 && of_.pceSvn != 0) of_.pceSvn -= 1;
        if (dice.roll(8) == 0) of_.pceSvn = type(uint16).max;
        of_.teeTcbSvn = near(dice, level.tdx);
        bytes2 module = bytes2(uint16(dice.roll(6) << 8 | dice.roll(4)));
        if (dice.roll(2) == 0) of_.teeTcbSvn = (of_.teeTcbSvn << 16 >> 16) | bytes16(module);
    }

    function near(Dice memory dice, bytes16 svns) private pure returns (bytes16) {
        uint256 choice = dice.roll(8);
        if (choice == 0) return dice.svns();
        if (choice == 1) return GREATEST;
        if (choice > 4) return svns;
        uint256 index = dice.roll(16);
        uint8 svn = uint8(svns[index]);
        bytes16 mask = bytes16(bytes1(0xff)) >> (8 * index);
        svn = choice == 2 ? (svn == 0 ? 0 : svn - 1) : (svn == 255 ? 255 : svn + 1);
        return (svns & ~mask) | bytes16(bytes1(svn)) >> (8 * index);
    }

    /// Head of a packed identity whose masks leave some bits out.
    function identity() private pure returns (bytes memory) {
        return abi.encodePacked(
            bytes32(0x8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF),
            bytes16(0x11000000000000000000000000000000),
            bytes16(0xFBFFFFFFFFFFFFFF0000000000000000),
            bytes4(0x01000002),
            bytes4(0x0F000002),
            uint16(0x0102)
        );
    }

    /// The report of an enclave that has this identity.
    function enclave() private pure returns (bytes memory report) {
        report = new bytes(384);
        bytes32 signer = 0x8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF;
        for (uint256 i; i < 32; ++i) {
            report[128 + i] = signer[i];
        }
        report[48] = 0x11;
        (report[16], report[19]) = (0x01, 0x02);
        (report[256], report[257]) = (0x02, 0x01);
    }

    /// What must come of a report whose byte `index` had a bit flipped.
    function fault(uint256 index, bytes1 flip, bytes memory report)
        private
        pure
        returns (bytes memory)
    {
        bytes memory head = identity();
        IAttestationVerifier.QeField field;
        (uint256 expected, uint256 got) = (0, 0);
        if (index >= 128 && index < 160) {
            field = IAttestationVerifier.QeField.MrSigner;
            (expected, got) = (slice(head, 0, 32), slice(report, 128, 32));
        } else if (index == 48 && flip == 0x02) {
            field = IAttestationVerifier.QeField.Attributes;
            got = uint256(0x02) << 120;
        } else if (index >= 48 && index < 64) {
            field = IAttestationVerifier.QeField.Attributes;
            (expected, got) = (slice(head, 32, 16), slice(report, 48, 16) & slice(head, 48, 16));
        } else if (index >= 256 && index < 258) {
            field = IAttestationVerifier.QeField.IsvProdId;
            expected = 0x0102;
            got = uint256(uint8(report[256])) | uint256(uint8(report[257])) << 8;
        } else if (index >= 16 && index < 20) {
            field = IAttestationVerifier.QeField.MiscSelect;
            (expected, got) = (slice(head, 64, 4), slice(report, 16, 4) & slice(head, 68, 4));
        }
        if (expected == got) return abi.encode(TcbStatus.UpToDate);
        return abi.encodeWithSelector(
            IAttestationVerifier.WrongQuotingEnclave.selector, field, expected, got
        );
    }

    function noLevel(bytes16 teeTcbSvn) private pure returns (bytes memory) {
        return
            abi.encodeWithSelector(
                IAttestationVerifier.NoTcbLevel.selector, bytes16(0), 0, teeTcbSvn
            );
    }

    function slice(bytes memory data, uint256 offset, uint256 length)
        private
        pure
        returns (uint256 value)
    {
        for (uint256 i; i < length; ++i) {
            value = value << 8 | uint8(data[offset + i]);
        }
    }
}
