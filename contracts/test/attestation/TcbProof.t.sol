// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tcb} from "../../src/attestation/Tcb.sol";
import {IAttestationVerifier, TcbStatus, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {CollateralParser} from "./CollateralFixture.sol";

/// A platform with TDX and two levels for it.
struct Td {
    bytes16 cpuSvn;
    bytes16 teeTcbSvn;
    bytes16[2] levels;
    bytes16[2] tdxLevels;
}

/// Properties for all inputs, for halmos: `halmos --contract TcbProof --loop 256`. Forge runs none of them.
contract TcbProof {
    CollateralParser private parser;

    function setUp() public {
        parser = new CollateralParser();
    }

    /// One subtraction says the same as 16 comparisons.
    function check_lanesCompareEveryByte(bytes16 have, bytes16 needed) public pure {
        bool got = Tcb.meets(Tcb.lanes(uint128(have)), Tcb.lanes(uint128(needed)));
        assert(got == noByteBelow(have, needed, 0));
    }

    /// The first of three levels that is met; their statuses are their places.
    function check_sgxTakesTheFirstLevelThatIsMet(
        bytes16 cpuSvn,
        uint16 pceSvn,
        bytes16[3] memory levels,
        uint16[3] memory pceSvns
    ) public view {
        bytes memory packed = abi.encodePacked(
            abi.encodePacked(uint16(2), levels[0], pceSvns[0], TcbStatus(0)),
            abi.encodePacked(levels[1], pceSvns[1], TcbStatus(1)),
            abi.encodePacked(levels[2], pceSvns[2], TcbStatus(2))
        );
        uint256 place = 3;
        for (uint256 i = 3; i != 0; --i) {
            bool met = noByteBelow(cpuSvn, levels[i - 1], 0) && pceSvn >= pceSvns[i - 1];
            if (met) place = i - 1;
        }
        checkPlatform(packed, Tee.Sgx, cpuSvn, pceSvn, 0, place);
    }

    /// The first of two levels that is met, for modules without a version.
    function check_tdxTakesTheFirstLevelThatIsMet(Td memory td) public view {
        td.teeTcbSvn &= ~(bytes16(bytes1(0xff)) >> 8);
        uint256 place = firstMet(td, 0);
        bytes memory packed = bytes.concat(bytes2(uint16(34)), bytes32(0), levelsOf(td));
        checkPlatform(packed, Tee.Tdx, td.cpuSvn, 7, td.teeTcbSvn, place);
    }

    /// A module with a version has its first two components left out, and its own level looked up.
    function check_tdxLeavesTwoComponentsToTheModule(Td memory td, uint8 version, uint16 isvSvn)
        public
        view
    {
        uint256 place = firstMet(td, 2);
        if (td.teeTcbSvn[1] == 0 || place == 2) return;
        bytes memory identity = abi.encodePacked(version, uint8(1), bytes32(0), isvSvn, uint8(4));
        bytes memory packed = bytes.concat(bytes2(uint16(71)), bytes32(0), identity, levelsOf(td));
        (bool done, bytes memory result) = rate(packed, Tee.Tdx, td.cpuSvn, 7, td.teeTcbSvn);
        bool rated = uint8(td.teeTcbSvn[1]) == version && uint8(td.teeTcbSvn[0]) >= isvSvn;
        assert(done == rated);
        // Its module is out of date: the second level needed configuration besides.
        if (done) assert(abi.decode(result, (uint256)) == (place == 0 ? 4 : 5));
        else assert(bytes4(result) == IAttestationVerifier.NoTdxModuleLevel.selector);
    }

    /// `place` is that of the level that must be found, the number of levels if there is none.
    function checkPlatform(
        bytes memory packed,
        Tee tee,
        bytes16 cpuSvn,
        uint16 pceSvn,
        bytes16 teeTcbSvn,
        uint256 place
    ) private view {
        (bool done, bytes memory result) = rate(packed, tee, cpuSvn, pceSvn, teeTcbSvn);
        assert(done == (place < (tee == Tee.Sgx ? 3 : 2)));
        if (!done) assert(bytes4(result) == IAttestationVerifier.NoTcbLevel.selector);
        else assert(abi.decode(result, (uint256)) == (tee == Tee.Sgx ? place : 2 * place));
    }

    function rate(bytes memory packed, Tee tee, bytes16 cpuSvn, uint16 pceSvn, bytes16 teeTcbSvn)
        private
        view
        returns (bool, bytes memory)
    {
        bytes memory data =
            abi.encodeCall(parser.platform, (packed, tee, cpuSvn, pceSvn, teeTcbSvn));
        return address(parser).staticcall(data);
    }

    /// Both ask for PCE SVN 7; the first is UpToDate, the second ConfigurationNeeded.
    function levelsOf(Td memory td) private pure returns (bytes memory) {
        return abi.encodePacked(
            abi.encodePacked(td.levels[0], uint16(7), td.tdxLevels[0], uint8(0)),
            abi.encodePacked(td.levels[1], uint16(7), td.tdxLevels[1], uint8(2))
        );
    }

    function firstMet(Td memory td, uint256 from) private pure returns (uint256) {
        for (uint256 i; i < 2; ++i) {
            bool met = noByteBelow(td.cpuSvn, td.levels[i], 0)
                && noByteBelow(td.teeTcbSvn, td.tdxLevels[i], from);
            if (met) return i;
        }
        return 2;
    }

    /// Without a branch per byte, which would be a path each.
    function noByteBelow(bytes16 have, bytes16 needed, uint256 from)
        private
        pure
        returns (bool all)
    {
        all = true;
        for (uint256 i = from; i < 16; ++i) {
            bool notBelow = have[i] >= needed[i];
            assembly ("memory-safe") {
                all := and(all, notBelow)
            }
        }
    }
}
