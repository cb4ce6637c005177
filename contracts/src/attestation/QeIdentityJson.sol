// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Tee} from "../interfaces/IAttestationVerifier.sol";
import {Json} from "./Json.sol";
import {CollateralHeader} from "./TcbInfoJson.sol";
import {TcbLevelsJson} from "./TcbLevelsJson.sol";

/// @title Intel's identities of quoting enclaves
/// @notice Version 2, ids `QE` and `TD_QE`, in the form in which Intel serves and signs them. A
/// version 3 of `TD_QE` is allowed by Intel's own verifier but its form is not published: refused.
/// @dev Packed, for `Tcb.quotingEnclave`: `mrsigner 32 | attributes 16 | their mask 16 | miscselect
/// 4 | its mask 4 | isvprodid 2 |` levels in Intel's order, `isvsvn 2 | status 1` each. Attributes
/// and miscselect are masked already.
library QeIdentityJson {
    using Json for Json.Walk;
    using TcbLevelsJson for Json.Walk;

    uint256 private constant HEAD = 74;
    uint256 private constant CAPACITY = HEAD + TcbLevelsJson.MAX_LEVELS * TcbLevelsJson.ISV_LEVEL;
    /// UpToDate, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked.
    uint256 private constant STATUSES = 0x75;

    /// @notice Reads an identity.
    /// @return header Who it is for and when it is valid; `fmspc` and `pceId` are zero.
    /// @return packed What `Tcb` needs of it.
    function parse(bytes calldata json)
        internal
        pure
        returns (CollateralHeader memory header, bytes memory packed)
    {
        Json.Walk memory walk = Json.open(json, CAPACITY);
        walk.expect("{\"id\":\"", 7);
        if (walk.accept("TD_", 3)) header.tee = Tee.Tdx;
        walk.expect("QE\",\"version\":2,", 16);
        (header.issuedAt, header.nextUpdate) = walk.dates();
        header.evaluationNumber = walk.evaluationNumber();
        identity(walk);
        walk.isvLevels(type(uint16).max, STATUSES);
        packed = walk.close(json);
    }

    /// Reads what the enclave must be. MRSIGNER comes last and is written first.
    function identity(Json.Walk memory walk) private pure {
        walk.expect("\"miscselect\":\"", 14);
        uint256 miscSelect = walk.hexBytes(4);
        walk.expect("\",\"miscselectMask\":\"", 20);
        uint256 miscSelectMask = walk.hexBytes(4);
        walk.expect("\",\"attributes\":\"", 16);
        uint256 attributes = walk.hexBytes(16);
        walk.expect("\",\"attributesMask\":\"", 20);
        uint256 attributesMask = walk.hexBytes(16);
        walk.expect("\",\"mrsigner\":\"", 14);
        walk.put(walk.hexWord(), 32);
        walk.put(attributes & attributesMask, 16);
        walk.put(attributesMask, 16);
        walk.put(miscSelect & miscSelectMask, 4);
        walk.put(miscSelectMask, 4);
        walk.expect("\",\"isvprodid\":", 14);
        walk.put(walk.number(type(uint16).max), 2);
        walk.expect(",", 1);
    }
}
