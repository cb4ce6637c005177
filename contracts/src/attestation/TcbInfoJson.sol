// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tee} from "../interfaces/IAttestationVerifier.sol";
import {Json} from "./Json.sol";
import {TcbLevelsJson} from "./TcbLevelsJson.sol";

/// @notice What TCB information or a QE identity says about itself.
/// @param tee The TEE it is for.
/// @param fmspc Processor family; zero for a QE identity.
/// @param pceId Provisioning enclave; zero for a QE identity.
/// @param issuedAt Unix seconds.
/// @param nextUpdate Unix seconds.
/// @param evaluationNumber Intel's `tcbEvaluationDataNumber`.
struct CollateralHeader {
    Tee tee;
    bytes6 fmspc;
    bytes2 pceId;
    uint40 issuedAt;
    uint40 nextUpdate;
    uint32 evaluationNumber;
}

/// @title Intel's TCB information
/// @notice Version 3 with `tcbType` 0, for SGX and TDX, in the form in which Intel serves and signs
/// it. Hex is taken in both cases: Intel has signed FMSPCs in both.
/// @dev Packed, for `Tcb.platform` and `Tcb.tdxModule`:
/// - 2 bytes: where the levels start;
/// - TDX only: digest 32 of the base module, then the module identities in Intel's order: `version
///   1 | number of levels 1 | digest 32 |` levels in Intel's order, `isvsvn 2 | status 1` each;
/// - the platform's levels, greatest first, up to the end: `SGX components 16 | PCE SVN 2 | [TDX:
///   components 16] | status 1`.
/// A module's digest is keccak256(signer 48 ‖ masked attributes 8).
library TcbInfoJson {
    using Json for Json.Walk;
    using TcbLevelsJson for Json.Walk;

    /// @notice More module identities than this are refused, far above what Intel lists.
    uint256 internal constant MAX_IDENTITIES = 16;
    /// @notice Bytes of a packed level of SGX.
    uint256 internal constant SGX_LEVEL = 19;
    /// @notice Bytes of a packed level of TDX.
    uint256 internal constant TDX_LEVEL = 35;
    /// @notice Bytes of a packed module identity without its levels.
    uint256 internal constant IDENTITY = 34;

    uint256 private constant HEAD = 34;
    uint256 private constant CAPACITY = HEAD + TcbLevelsJson.MAX_LEVELS * TDX_LEVEL + MAX_IDENTITIES
        * (IDENTITY + TcbLevelsJson.MAX_LEVELS * TcbLevelsJson.ISV_LEVEL);
    /// Every status but the two that only a comparison of two levels can give.
    uint256 private constant STATUSES = 0x7f;
    /// UpToDate, OutOfDate, Revoked.
    uint256 private constant MODULE_STATUSES = 0x51;

    /// @notice Reads TCB information.
    /// @return header Who it is for and when it is valid.
    /// @return packed What `Tcb` needs of it.
    function parse(bytes calldata json)
        internal
        pure
        returns (CollateralHeader memory header, bytes memory packed)
    {
        Json.Walk memory walk = Json.open(json, CAPACITY);
        head(walk, header);
        walk.put(0, 2);
        bool tdx = header.tee == Tee.Tdx;
        if (tdx) modules(walk);
        uint256 levelsAt = walk.written();
        walk.patch(0, levelsAt >> 8);
        walk.patch(1, levelsAt);
        levels(walk, tdx);
        packed = walk.close(json);
    }

    /// Reads everything before the modules and levels.
    function head(Json.Walk memory walk, CollateralHeader memory header) private pure {
        walk.expect("{\"id\":\"", 7);
        if (walk.accept("TDX", 3)) header.tee = Tee.Tdx;
        else walk.expect("SGX", 3);
        walk.expect("\",\"version\":3,", 14);
        (header.issuedAt, header.nextUpdate) = walk.dates();
        walk.expect("\"fmspc\":\"", 9);
        header.fmspc = bytes6(uint48(walk.hexBytes(6)));
        walk.expect("\",\"pceId\":\"", 11);
        header.pceId = bytes2(uint16(walk.hexBytes(2)));
        walk.expect("\",\"tcbType\":0,", 14);
        header.evaluationNumber = walk.evaluationNumber();
    }

    /// Reads the base module and the module identities, if there are any.
    function modules(Json.Walk memory walk) private pure {
        walk.expect("\"tdxModule\":{", 13);
        module(walk);
        walk.expect("},", 2);
        if (!walk.accept("\"tdxModuleIdentities\":[", 23)) return;
        if (!walk.accept("]", 1)) {
            identities(walk);
            walk.expect("]", 1);
        }
        walk.expect(",", 1);
    }

    /// Reads the module identities, at least one.
    function identities(Json.Walk memory walk) private pure {
        uint256 count;
        do {
            if (count++ == MAX_IDENTITIES) walk.fail();
            walk.expect("{\"id\":\"TDX_", 11);
            walk.put(walk.hexBytes(1), 1);
            walk.expect("\",", 2);
            uint256 countAt = walk.written();
            walk.put(0, 1);
            module(walk);
            walk.expect(",", 1);
            walk.patch(countAt, walk.isvLevels(type(uint8).max, MODULE_STATUSES));
        } while (walk.accept(",", 1));
    }

    /// Reads a module's signer and attributes and writes their digest.
    function module(Json.Walk memory walk) private pure {
        walk.expect("\"mrsigner\":\"", 12);
        uint256 signerHead = walk.hexWord();
        uint256 signerTail = walk.hexBytes(16);
        walk.expect("\",\"attributes\":\"", 16);
        uint256 attributes = walk.hexBytes(8);
        walk.expect("\",\"attributesMask\":\"", 20);
        attributes &= walk.hexBytes(8);
        walk.expect("\"", 1);
        bytes32 digest;
        assembly ("memory-safe") {
            mstore(0x00, signerHead)
            mstore(0x20, or(shl(128, signerTail), shl(64, attributes)))
            digest := keccak256(0x00, 56)
        }
        walk.put(uint256(digest), 32);
    }

    /// Reads the platform's levels and writes them in order.
    function levels(Json.Walk memory walk, bool tdx) private pure {
        uint256 first = walk.out;
        uint256 count;
        walk.expect("\"tcbLevels\":[", 13);
        do {
            if (count++ == TcbLevelsJson.MAX_LEVELS) walk.fail();
            uint256 last = walk.out;
            level(walk, tdx);
            sink(first, last, tdx);
        } while (walk.accept(",", 1));
        walk.expect("]}", 2);
    }

    /// Reads a level of the platform.
    function level(Json.Walk memory walk, bool tdx) private pure {
        walk.expect("{\"tcb\":{\"sgxtcbcomponents\":[", 28);
        components(walk);
        walk.expect("],\"pcesvn\":", 11);
        walk.put(walk.number(type(uint16).max), 2);
        if (tdx) {
            walk.expect(",\"tdxtcbcomponents\":[", 21);
            components(walk);
            walk.expect("]", 1);
        }
        walk.put(uint256(walk.rating(STATUSES)), 1);
    }

    /// Reads 16 components.
    function components(Json.Walk memory walk) private pure {
        uint256 svns;
        walk.expect("{\"svn\":", 7);
        for (uint256 i; i < 15; ++i) {
            svns = svns << 8 | walk.number(type(uint8).max);
            // Most components are their SVN only.
            if (walk.accept("},{\"svn\":", 9)) continue;
            labels(walk);
            walk.expect("},{\"svn\":", 9);
        }
        walk.put(svns << 8 | walk.number(type(uint8).max), 16);
        labels(walk);
        walk.expect("}", 1);
    }

    /// Moves over what a component may say about itself; it decides nothing.
    function labels(Json.Walk memory walk) private pure {
        if (walk.accept(",\"category\":\"", 13)) {
            walk.text();
            walk.expect("\"", 1);
        }
        if (walk.accept(",\"type\":\"", 9)) {
            walk.text();
            walk.expect("\"", 1);
        }
    }

    /// Moves the level at `last` before all lower ones, behind its equals: the order in which
    /// Intel's verifier tries levels, whatever the order in the JSON.
    function sink(uint256 first, uint256 last, bool tdx) private pure {
        uint256 size = tdx ? TDX_LEVEL : SGX_LEVEL;
        uint256 to = last;
        while (to > first && lower(to - size, last, tdx)) to -= size;
        if (to == last) return;
        assembly ("memory-safe") {
            mcopy(0x00, last, size)
            mcopy(add(to, size), to, sub(last, to))
            mcopy(to, 0x00, size)
        }
    }

    /// Whether the level at `a` is lower than the one at `b`: by SGX components, then PCE SVN, then
    /// TDX components.
    function lower(uint256 a, uint256 b, bool tdx) private pure returns (bool yes) {
        assembly ("memory-safe") {
            let x := mload(a)
            let y := mload(b)
            switch tdx
            case 0 { yes := lt(shr(112, x), shr(112, y)) }
            default {
                yes := lt(x, y)
                // Its 34 bytes: when the first 32 are equal, the last 32 decide.
                if eq(x, y) { yes := lt(mload(add(a, 2)), mload(add(b, 2))) }
            }
        }
    }
}
