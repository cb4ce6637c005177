// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TcbStatus} from "../../src/interfaces/IAttestationVerifier.sol";
import {vm} from "../Vm.sol";

/// A level of a platform.
struct Level {
    bytes16 sgx;
    uint16 pceSvn;
    bytes16 tdx;
    TcbStatus status;
}

/// A level of a TDX module or a quoting enclave.
struct IsvLevel {
    uint16 svn;
    TcbStatus status;
}

/// A TDX module; the base module has neither version nor levels.
struct Module {
    uint8 version;
    bytes signer;
    bytes8 attributes;
    bytes8 mask;
    IsvLevel[] levels;
}

/// TCB information.
struct Info {
    bool tdx;
    Module base;
    Module[] identities;
    Level[] levels;
}

/// Numbers that follow from a seed.
struct Dice {
    uint256 seed;
}

using Rolls for Dice global;

library Rolls {
    /// A number below `sides`.
    function roll(Dice memory dice, uint256 sides) internal pure returns (uint256) {
        dice.seed = uint256(keccak256(abi.encode(dice.seed)));
        return dice.seed % sides;
    }

    /// 16 SVNs, most of them zero, so that one set is often below another.
    function svns(Dice memory dice) internal pure returns (bytes16 value) {
        for (uint256 i; i < 16; ++i) {
            uint256 svn = dice.roll(4) == 0 ? dice.roll(3) : 0;
            if (dice.roll(40) == 0) svn = 255;
            value |= bytes16(bytes1(uint8(svn))) >> (8 * i);
        }
    }

    /// `svns`, most often with another one in one place.
    function nudged(Dice memory dice, bytes16 svns_) internal pure returns (bytes16) {
        if (dice.roll(3) == 0) return svns_;
        uint256 shift = 8 * dice.roll(16);
        bytes16 mask = bytes16(bytes1(0xff)) >> shift;
        return (svns_ & ~mask) | bytes16(bytes1(uint8(dice.roll(3)))) >> shift;
    }

    /// Levels of a platform in any order, sometimes equal ones; TDX components also for SGX.
    function levels(Dice memory dice) internal pure returns (Level[] memory list) {
        list = new Level[](1 + dice.roll(6));
        for (uint256 i; i < list.length; ++i) {
            bool copied = i != 0 && dice.roll(3) == 0;
            list[i].sgx = copied ? list[i - 1].sgx : dice.svns();
            list[i].pceSvn = copied && dice.roll(2) == 0
                ? list[i - 1].pceSvn
                : uint16(dice.roll(2) == 0 ? dice.roll(3) : dice.roll(1 << 16));
            list[i].tdx = copied ? dice.nudged(list[i - 1].tdx) : dice.svns();
            list[i].status = TcbStatus(dice.roll(7));
        }
    }

    /// Levels of a module or an enclave, in any order, with statuses out of `statuses`.
    function isvLevels(Dice memory dice, uint256 svnMax, TcbStatus[] memory statuses)
        internal
        pure
        returns (IsvLevel[] memory list)
    {
        list = new IsvLevel[](1 + dice.roll(4));
        for (uint256 i; i < list.length; ++i) {
            list[i].svn = uint16(dice.roll(2) == 0 ? dice.roll(4) : dice.roll(svnMax + 1));
            list[i].status = statuses[dice.roll(statuses.length)];
        }
    }

    /// A TDX module; every other one with the signer and attributes of Intel's.
    function module(Dice memory dice, uint8 version) internal pure returns (Module memory made) {
        TcbStatus[] memory statuses = new TcbStatus[](3);
        statuses[1] = TcbStatus.OutOfDate;
        statuses[2] = TcbStatus.Revoked;
        made.version = version;
        made.signer = new bytes(48);
        made.mask = 0xffffffffffffffff;
        if (dice.roll(2) == 0) {
            made.signer[dice.roll(48)] = bytes1(uint8(dice.roll(256)));
            made.attributes = bytes8(uint64(dice.roll(1 << 64)));
            made.mask = bytes8(uint64(dice.roll(1 << 64)));
        }
        made.levels = dice.isvLevels(255, statuses);
    }

    /// TCB information; module versions may repeat.
    function info(Dice memory dice, bool tdx) internal pure returns (Info memory made) {
        made.tdx = tdx;
        made.levels = dice.levels();
        if (!tdx) return made;
        made.base = dice.module(0);
        made.identities = new Module[](dice.roll(4));
        for (uint256 i; i < made.identities.length; ++i) {
            made.identities[i] = dice.module(uint8(1 + dice.roll(3)));
        }
    }
}

/// Collateral in Intel's form, and what the contract must keep of it.
library CollateralText {
    string internal constant ISSUED = "2025-06-19T10:16:03Z";
    uint40 internal constant ISSUED_AT = 1_750_328_163;
    string internal constant NEXT = "2025-07-19T10:16:03Z";
    uint40 internal constant NEXT_UPDATE = 1_752_920_163;

    function statusName(TcbStatus status) internal pure returns (string memory) {
        return [
            "UpToDate",
            "SWHardeningNeeded",
            "ConfigurationNeeded",
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            "Revoked",
            "TDRelaunchAdvised",
            "TDRelaunchAdvisedConfigurationNeeded"
        ][uint256(status)];
    }

    function tcbInfo(Info memory info) internal pure returns (string memory) {
        return string.concat(
            "{\"id\":\"",
            info.tdx ? "TDX" : "SGX",
            "\",\"version\":3,",
            dates(),
            ",\"fmspc\":\"B0C06F000000\",\"pceId\":\"0000\",\"tcbType\":0,",
            "\"tcbEvaluationDataNumber\":20,",
            info.tdx ? modules(info) : "",
            "\"tcbLevels\":[",
            platformLevels(info),
            "]}"
        );
    }

    function dates() internal pure returns (string memory) {
        return string.concat("\"issueDate\":\"", ISSUED, "\",\"nextUpdate\":\"", NEXT, "\"");
    }

    function isvLevels(IsvLevel[] memory levels) internal pure returns (string memory list) {
        for (uint256 i; i < levels.length; ++i) {
            list = string.concat(
                list,
                i == 0 ? "" : ",",
                "{\"tcb\":{\"isvsvn\":",
                vm.toString(uint256(levels[i].svn)),
                rating(levels[i].status, i)
            );
        }
        return string.concat("\"tcbLevels\":[", list, "]}");
    }

    /// What `TcbInfoJson` must have packed: the levels by their rank, without sorting anything.
    function packed(Info memory info) internal pure returns (bytes memory) {
        bytes memory head;
        if (info.tdx) head = abi.encodePacked(digest(info.base));
        for (uint256 i; i < info.identities.length; ++i) {
            Module memory module = info.identities[i];
            head =
                abi.encodePacked(head, module.version, uint8(module.levels.length), digest(module));
            head = bytes.concat(head, packed(module.levels));
        }
        bytes memory tail;
        for (uint256 rank; rank < info.levels.length; ++rank) {
            Level memory level = ranked(info, rank);
            tail = abi.encodePacked(tail, level.sgx, level.pceSvn);
            if (info.tdx) tail = abi.encodePacked(tail, level.tdx);
            tail = abi.encodePacked(tail, level.status);
        }
        return abi.encodePacked(uint16(2 + head.length), head, tail);
    }

    function packed(IsvLevel[] memory levels) internal pure returns (bytes memory list) {
        for (uint256 i; i < levels.length; ++i) {
            list = abi.encodePacked(list, levels[i].svn, levels[i].status);
        }
    }

    function digest(Module memory module) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(module.signer, module.attributes & module.mask));
    }

    /// Positive if `a` is tried before `b`, zero if their order in the JSON decides.
    function compare(Level memory a, Level memory b, bool tdx) internal pure returns (int256) {
        if (a.sgx != b.sgx) return a.sgx > b.sgx ? int256(1) : -1;
        if (a.pceSvn != b.pceSvn) return a.pceSvn > b.pceSvn ? int256(1) : -1;
        if (!tdx || a.tdx == b.tdx) return 0;
        return a.tdx > b.tdx ? int256(1) : -1;
    }

    /// The level before which `rank` others come.
    function ranked(Info memory info, uint256 rank) private pure returns (Level memory level) {
        for (uint256 i; i < info.levels.length; ++i) {
            uint256 before;
            for (uint256 j; j < info.levels.length; ++j) {
                int256 order = compare(info.levels[j], info.levels[i], info.tdx);
                if (order > 0 || (order == 0 && j < i)) ++before;
            }
            if (before == rank) return info.levels[i];
        }
    }

    function modules(Info memory info) private pure returns (string memory list) {
        list = string.concat("\"tdxModule\":{", identity(info.base), "},");
        if (info.identities.length == 0) return list;
        list = string.concat(list, "\"tdxModuleIdentities\":[");
        for (uint256 i; i < info.identities.length; ++i) {
            Module memory module = info.identities[i];
            list = string.concat(
                list,
                i == 0 ? "{\"id\":\"TDX_" : ",{\"id\":\"TDX_",
                hexOf(abi.encodePacked(module.version)),
                "\",",
                identity(module),
                ",",
                isvLevels(module.levels)
            );
        }
        return string.concat(list, "],");
    }

    function identity(Module memory module) private pure returns (string memory) {
        return string.concat(
            "\"mrsigner\":\"",
            hexOf(module.signer),
            "\",\"attributes\":\"",
            hexOf(abi.encodePacked(module.attributes)),
            "\",\"attributesMask\":\"",
            hexOf(abi.encodePacked(module.mask)),
            "\""
        );
    }

    function platformLevels(Info memory info) private pure returns (string memory list) {
        for (uint256 i; i < info.levels.length; ++i) {
            Level memory level = info.levels[i];
            list = string.concat(
                list,
                i == 0 ? "" : ",",
                "{\"tcb\":{\"sgxtcbcomponents\":[",
                components(level.sgx),
                "],\"pcesvn\":",
                vm.toString(uint256(level.pceSvn))
            );
            if (info.tdx) {
                list = string.concat(list, ",\"tdxtcbcomponents\":[", components(level.tdx), "]");
            }
            list = string.concat(list, rating(level.status, i));
        }
    }

    /// 16 components with every kind of label.
    function components(bytes16 svns) private pure returns (string memory list) {
        string[4] memory labels = [
            "",
            ",\"category\":\"BIOS\"",
            ",\"category\":\"OS/VMM\",\"type\":\"A type of more than 32 characters (0x7F)\"",
            ",\"type\":\"TDX Module\""
        ];
        for (uint256 i; i < 16; ++i) {
            list = string.concat(
                list,
                i == 0 ? "{\"svn\":" : ",{\"svn\":",
                vm.toString(uint256(uint8(svns[i]))),
                i < 7 || i == 15 ? labels[i % 4] : "",
                "}"
            );
        }
    }

    /// From the end of `tcb` to the end of the level, with advisories in every form.
    function rating(TcbStatus status, uint256 index) private pure returns (string memory) {
        string[4] memory advisories = [
            "",
            ",\"advisoryIDs\":[]",
            ",\"advisoryIDs\":[\"INTEL-SA-00837\"]",
            ",\"advisoryIDs\":[\"INTEL-SA-00837\",\"\",\"INTEL-SA-01036\"]"
        ];
        return string.concat(
            "},\"tcbDate\":\"2024-02-29T00:00:00Z\",\"tcbStatus\":\"",
            statusName(status),
            "\"",
            advisories[index % 4],
            "}"
        );
    }

    /// Hex without a prefix, as both cases occur: digits `a` to `f` are of the lower one.
    function hexOf(bytes memory value) private pure returns (string memory) {
        return vm.replace(vm.toString(value), "0x", "");
    }
}
