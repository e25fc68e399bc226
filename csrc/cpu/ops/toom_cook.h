#pragma once

// Minimal filtering (Toom and Cook; Winograd, "Arithmetic Complexity of Computations", 1980):
// correlations along an axis with fewer products than outputs · taps. With matrices D, G and A,
//
//   out[r] = Σ_p A[r][p] · (Σ_k G[p][k] · taps[k]) · (Σ_l D[p][l] · x[l]).
//
// Along two axes every index is a pair, and each product a sum over channels: a GEMM.

namespace digan_fast {

template <int Rows, int Columns>
struct Matrix {
    float at[Rows][Columns] = {};
};

// Products after the last of the taps' factors share it.
template <int Products, int Inputs, int Factors, int Taps, int Outputs>
struct Filtering {
    Matrix<Products, Inputs> of_inputs;    // D
    Matrix<Factors, Taps> of_taps;         // G
    Matrix<Outputs, Products> to_outputs;  // A
};

template <int Rows, int Columns>
constexpr Matrix<Columns, Rows> transposed(const Matrix<Rows, Columns>& matrix) {
    Matrix<Columns, Rows> result;
    for (int r = 0; r < Rows; ++r)
        for (int c = 0; c < Columns; ++c) result.at[c][r] = matrix.at[r][c];
    return result;
}

// out[r] = Σ_k taps[k] · x[r + k]: both polynomials are evaluated at the nodes and at infinity, and
// D interpolates, transposed.
template <int Outputs, int Taps>
constexpr auto toom_cook(const double (&nodes)[Outputs + Taps - 2]) {
    constexpr int kFinite = Outputs + Taps - 2;
    Filtering<kFinite + 1, kFinite + 1, kFinite + 1, Taps, Outputs> result;
    for (int p = 0; p <= kFinite; ++p) {
        // The coefficients of Π_j (x − nodes[j]), j ≠ p.
        double product[kFinite + 1] = {1};
        double scale = 1;
        for (int j = 0, degree = 0; j < kFinite; ++j) {
            if (j == p) continue;
            ++degree;
            for (int l = degree; l >= 0; --l)
                product[l] = (l ? product[l - 1] : 0) - nodes[j] * (l < degree ? product[l] : 0);
            if (p < kFinite) scale *= nodes[p] - nodes[j];
        }
        for (int l = 0; l <= kFinite; ++l)
            result.of_inputs.at[p][l] = static_cast<float>(product[l]);
        double power = 1;
        for (int k = 0; k < Outputs || k < Taps; ++k) {
            if (k < Taps && p < kFinite)
                result.of_taps.at[p][k] = static_cast<float>(power / scale);
            if (k < Outputs && p < kFinite) result.to_outputs.at[k][p] = static_cast<float>(power);
            if (p < kFinite) power *= nodes[p];
        }
    }
    result.of_taps.at[kFinite][Taps - 1] = 1;
    result.to_outputs.at[Outputs - 1][kFinite] = 1;
    return result;
}

// Relative to the norm, these nodes' rounding errors are half of those of the usual 0, ±1, ±2.
constexpr double kRootHalf = 0.70710678118654752440;
constexpr auto kThreeTaps =
    toom_cook<4, 3>({0, kRootHalf, -kRootHalf, 2 * kRootHalf, -2 * kRootHalf});
constexpr auto kTwoTaps = toom_cook<4, 2>({0, 0.5, -1, 1.5});

// With stride 2, even samples meet the outer two taps and odd ones the middle one,
//   out[r] = (taps[0] · x[2r] + taps[2] · x[2r + 2]) + taps[1] · x[2r + 1]:
// five products for four of the first terms, and four, which share a factor, for the second ones.
constexpr Filtering<9, 9, 6, 3, 4> halving() {
    Filtering<9, 9, 6, 3, 4> result;
    result.of_taps.at[5][1] = 1;
    for (int p = 0; p < 5; ++p) {
        for (int l = 0; l < 5; ++l) result.of_inputs.at[p][2 * l] = kTwoTaps.of_inputs.at[p][l];
        for (int k = 0; k < 2; ++k) result.of_taps.at[p][2 * k] = kTwoTaps.of_taps.at[p][k];
        for (int r = 0; r < 4; ++r) result.to_outputs.at[r][p] = kTwoTaps.to_outputs.at[r][p];
    }
    for (int r = 0; r < 4; ++r) {
        result.of_inputs.at[5 + r][2 * r + 1] = 1;
        result.to_outputs.at[r][5 + r] = 1;
    }
    return result;
}

// Its adjoint: x[2r] = taps[2] · g[r − 1] + taps[0] · g[r] and x[2r + 1] = taps[1] · g[r], from
// samples g[−1] to g[3].
constexpr Filtering<9, 5, 6, 3, 8> doubling() {
    Filtering<9, 5, 6, 3, 8> result;
    result.of_taps.at[5][1] = 1;
    for (int p = 0; p < 5; ++p) {
        for (int l = 0; l < 5; ++l) result.of_inputs.at[p][l] = kTwoTaps.of_inputs.at[p][l];
        for (int k = 0; k < 2; ++k) result.of_taps.at[p][2 - 2 * k] = kTwoTaps.of_taps.at[p][k];
        for (int r = 0; r < 4; ++r) result.to_outputs.at[2 * r][p] = kTwoTaps.to_outputs.at[r][p];
    }
    for (int r = 0; r < 4; ++r) {
        result.of_inputs.at[5 + r][r + 1] = 1;
        result.to_outputs.at[2 * r + 1][5 + r] = 1;
    }
    return result;
}

}  // namespace digan_fast
